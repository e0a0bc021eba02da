-- A record of the log may hold the batches of several requests (a bundle). An event's index is its index in the record, and where a
-- batch begins is what tells it from its neighbours.
alter table duplicate_batch
    -- The index of the batch's first event in the record.
    add column event_index int not null default 0;
alter table dedup_window
    -- The same of the batch that was last heard of: who is forgotten first, when there are too many, is decided by their order.
    add column last_event int not null default 0;
alter table duplicate_batch drop constraint duplicate_batch_pkey;
alter table duplicate_batch add primary key (log_partition, log_offset, event_index);
