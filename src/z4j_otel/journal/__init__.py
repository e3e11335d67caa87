"""The hand-off between the processes that capture and the one agent: theory of operation.

Constraints
    A task process may be killed at any instruction, may fork, and must never wait for the
    agent; the agent may be killed at any instruction too. So: no lock that one process can
    hold against another, no thread, no socket, no fsync on the writing side. A record that
    was appended survives the death of both. Writers and reader share a machine and a local
    file system with ``O_APPEND`` and ``flock`` (POSIX; not NFS). There is one reader at a
    time; the buffer's lock file sees to that.

Format
    A directory holds one segment that is written, ``active.log``, and those that are only
    read, ``sealed-<n>.log``, n rising. A segment is a row of records::

        F5 5A | length u32 | kind u8 | pid u32 | boot u32 | sequence u64
              | CRC-32 of these, u32 | CRC-32 of the payload, u32 | payload

    Integers are little-endian. The payload is 0 to 1 MiB of bytes that mean nothing here.
    Its bytes are UTF-8 in practice, where F5 cannot occur, so that a search for the two
    magic bytes finds records only. The first byte of a *segment* says more: F5, it is
    written; F6, it is sealed.

    ``pid`` and ``boot``, a random number, name one life of one writer: a forked child has
    its own. ``sequence`` numbers what this writer was given, from 1. ``kind`` 0 is a record
    of the caller's. Kind 1 tells the writer's losses: its payload is a JSON object of counts
    by reason, each since the writer began, and its ``sequence`` is the highest number the
    writer knew to be used; it has no number of its own.

Operation
    *Append.* One ``write(2)`` of header and payload on an ``O_APPEND`` descriptor: the
    kernel puts records of many writers one after the other. Before it, a one byte
    ``pread`` of the segment's first byte: F6 sends the writer to the new ``active.log``.
    Every 256 KiB, or after a second, a writer also compares the inode behind the path and
    measures the directory: it may write so much as the cap leaves, and no more than 256 KiB
    before it measures again. So one writer never passes the cap, and n writers, measuring at
    the same time, pass it by (n - 1) * 256 KiB at most.

    *Rotate.* The reader writes F6 over the first byte, then renames ``active.log`` to
    ``sealed-<n>.log``. Because the mark stands before a new ``active.log`` can exist, an
    append that follows another in time never lands in an older segment. The reader notes
    the sizes of all segments from new to old, then reads from old to new up to these
    sizes. Both rules together keep causal order across segments: if append A returned
    before append B was called, A is read before B. (Looking at the path only once a second
    would let B land before A for that second, at every rotation.)

    *Number.* A record gets its number before anything can fail, and so does one that is
    dropped: the highest number of a writer is how much it was given. Numbers are taken
    without a lock, so threads of one process may append out of their order.

    *Tell.* A writer that had to drop appends one record of kind 1 before the next record
    that can be written, and when it is flushed or closed. Its counts are totals, so that
    one of them may be lost or read twice.

    *Remove.* A writer that read F5 just before the mark still appends to the renamed file.
    Therefore every writer holds a shared ``flock`` on what it writes, as a sign of life: no
    writer waits for it. The reader removes a sealed segment when the caller has durably
    stored a position at its end, *and* an exclusive ``flock`` succeeds without waiting,
    *and* under it the size is still that position. A writer that opens a segment checks,
    with its lock held, that the path still leads to it. A process that has fallen silent
    keeps its lock; its segment is renamed to ``drained-<n>.log``, still read, but no longer
    counted against the cap.

    *Move.* Who retires a journal, its agent being dead, removes the directory. A writer
    that had a segment open would have kept it there by its lock; one that had not, or whose
    descriptor somebody closed, finds that the segment cannot be made, and asks where to
    write instead. That costs the usual append nothing.

    *Position.* A small JSON text: per segment its inode, a checksum of its first header,
    the offset read, and a checksum of the bytes before it: where one of the two is damaged
    the other still tells which segment it is. The name (``active`` or n) must agree too,
    except that what was ``active`` may have become a number. A segment known to no position
    is read from its start: what is uncertain is repeated, not lost. Removal asks for a
    position that names the segment by its number, so that no stored position calls a removed
    inode ``active``.

    *Fork.* Descriptors are closed in the child at fork; the pid is compared on every append
    for forks that Python did not see. A child starts with empty counters and memory.

    *Threads.* A writer's descriptor keeps its number for life: a new segment is put in
    place with ``dup2``, so that a thread between two instructions never writes into a
    number that meanwhile means something else.

Recovery
    *Torn or damaged record.* The reader looks for the next whole record and counts what it
    skipped. An incomplete record at the very end may be in the making: the reader waits
    until valid data follows or the exclusive ``flock`` shows that no writer is left. Header
    and payload have checks of their own: where the header is whole, it is known whose record
    was damaged. Where it is not, the gap in the numbers tells, as soon as a later record of
    the same writer is read; after its last record, only the damaged place itself does.

    *Disk full, I/O error, short write.* The record is written again, whole, by the next
    appends; the torn part is skipped as above. Until then it waits in a memory ring of at
    most 1000 records and 2 MiB. What the ring cannot hold is dropped, oldest first, and
    counted by reason; likewise when the directory is at its cap because nobody reads. A
    process that is killed before it could write again takes ring and counts with it: its
    numbers end where the file does, and nobody learns of what came after.

    *Cut off.* Where a segment ends below its position, what is left was read, and what is
    appended from then on begins at its end. What was cut off and not read shows as a gap in
    the numbers, when the writer is heard again.

    *Foreign.* A link, a directory, a pipe or an unreadable file under a segment's name is
    passed over and told once. In the place of ``active.log`` it is moved to
    ``foreign-active``, so that writers can write.

    *Reader killed between mark and rename.* Its successor finds the mark and renames.

    *Power loss.* Nothing is synced: the last seconds may be missing, or be zero bytes,
    which are skipped as damage. Everything older is in the buffer by then.
"""
