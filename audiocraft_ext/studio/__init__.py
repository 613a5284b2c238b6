"""The studio: the page with this machine behind it. ``python -m audiocraft_ext.studio`` opens it; docs/STUDIO.md.

A small server (:mod:`~audiocraft_ext.studio.server`) on 127.0.0.1, a file for each part: library, make, data, train.
What takes long is a job (:mod:`~audiocraft_ext.studio.jobs`), a process of its own that runs one of our commands; the
server only reads what it leaves in the workspace's files, so it may end and come back at any time.
"""
