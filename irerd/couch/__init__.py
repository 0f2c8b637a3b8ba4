"""Replication with a server of CouchDB's protocol, both ways: a client of that protocol, and the order of its steps.

Nothing here keeps anything: what must not be lost is in the cache's log before the far end is told that it arrived, and a step
that is done twice changes nothing the second time. The far end's answers are untrusted: bounded, checked, never shown as they are.
"""
