"""The HTTP gateway and the Control Hub page: a client of the socket like any other, in a process of its own.

`http1` is the grammar of HTTP/1.1 as this server takes it, `server` the connections, `link` the way to irerd, `routes` which
path is which method, `access` who may ask, `answers` JSON both ways, `streams` events over HTTP, `gateway` all of it together,
`command` what `irerctl hub` is. Nothing here may do what its process may not: every judgement is the daemon's, or stricter.
"""
