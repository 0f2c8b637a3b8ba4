'use strict'
// A PouchDB server on a free port of this machine, which it prints. It ends with its standard input, so none is left behind.
// Usage: node server.js [DIRECTORY]; without one everything is in memory.

const PouchDB = require('pouchdb-core')
  .plugin(require('pouchdb-adapter-memory'))
  .plugin(require('pouchdb-adapter-leveldb'))
  .plugin(require('pouchdb-adapter-http'))
  .plugin(require('pouchdb-mapreduce'))
  .plugin(require('pouchdb-replication'))

const directory = process.argv[2]
const Kept = PouchDB.defaults(directory ? { adapter: 'leveldb', prefix: `${directory}/` } : { adapter: 'memory' })
const app = require('express')()
app.use(require('express-pouchdb')(Kept, { mode: 'minimumForPouchDB', inMemoryConfig: true }))
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.on('end', () => process.exit(0)).resume()
