"""Every bound that the daemon keeps, with its unit in its name."""

KIB = 1024
MIB = 1024 * KIB

table_name_bytes_max = 255
key_bytes_max = 1024
value_bytes_max = 2 * MIB

request_bytes_max = 4 * MIB  # one gRPC message from a client
rest_body_bytes_max = 8 * MIB
json_depth_max = 32  # nested objects and arrays in a REST body

# A page of a range is closed before a pair would take it to this size.
page_bytes_max = 4 * MIB - KIB
# A transaction's whole answer; one that needs more is refused and changes nothing.
txn_answer_bytes_max = 16 * MIB
# What all ranges and comparisons of a transaction may look at; beyond, it is refused likewise.
txn_pairs_max = 1_000_000
txn_read_bytes_max = 256 * MIB  # of stored records that have to be read, not only counted

read_timeout_s = 5.0  # for calls that come without a deadline of their own
write_timeout_s = 60.0
scan_idle_s_max = 60.0  # IterateRange without progress
scan_total_s_max = 600.0  # IterateRange in all
stop_grace_s = 30.0  # calls in flight at a stop

# What the event loop does at a stretch before it lets others have a turn.
stretch_pairs_max = 1000
stretch_bytes_max = 64 * KIB
# What the native read path does at a stretch, from a batch of calls that came in one piece: of
# stored records one range reads so much at most, and all of them so much; larger ones go through
# Python, in stretches. The batch's bounds are some 0.5 ms of work.
native_call_bytes_max = 256 * KIB
native_batch_pairs_max = 8 * stretch_pairs_max
native_batch_bytes_max = 2 * MIB

turn_bytes_max = 64 * MIB  # what a storage thread writes in one transaction
checkpoint_interval_s = 0.25  # between checkpoints of the data, while it changes
queue_bytes_max = 128 * MIB  # writes waiting for the log; more are refused

# Below this much room a node takes no more data: the lesser of the two.
disk_reserve_bytes_max = 256 * MIB
disk_reserve_share = 0.05  # of the file system

log_recent_bytes_max = 64 * KIB  # of a group's newest entries, in memory beside the last write
log_entries_kept = 5_000
log_compaction_entries = 10_000  # entries between compactions
log_compaction_bytes = 64 * MIB  # of a group's entries; above it, the older half is removed

metrics_tables_max = 1_000  # tables whose numbers /metrics shows, those made first
