'use strict'
// PouchDB's own replicator, from a store on this machine's disk to a server and back. Usage: node pouchdb_peer.js URL COUNT DIRECTORY
// Prints one JSON object. Its packages are those of tests/pouchdb.

const PouchDB = require('pouchdb-core')
  .plugin(require('pouchdb-adapter-leveldb'))
  .plugin(require('pouchdb-adapter-http'))
  .plugin(require('pouchdb-replication'))

const [url, count, directory] = [process.argv[2], Number(process.argv[3]), process.argv[4]]

async function main () {
  const near = new PouchDB(`${directory}/near`, { adapter: 'leveldb' })
  const docs = Array.from({ length: count }, (_, n) => ({ _id: `key-${String(n).padStart(6, '0')}`, n, text: 'x'.repeat(100) }))
  for (let at = 0; at < count; at += 500) await near.bulkDocs(docs.slice(at, at + 500))
  const far = new PouchDB(url, { adapter: 'http' })
  let began = performance.now()
  const out = await near.replicate.to(far, { batch_size: 500 })
  const pushS = (performance.now() - began) / 1000
  const other = new PouchDB(`${directory}/other`, { adapter: 'leveldb' })
  began = performance.now()
  const back = await other.replicate.from(far, { batch_size: 500 })
  const pullS = (performance.now() - began) / 1000
  if (out.docs_written !== count || back.docs_written !== count) throw new Error('not all were replicated')
  console.log(JSON.stringify({ push_s: pushS, pull_s: pullS }))
}

main().catch(error => { console.error(error); process.exit(1) })
