-- The same function, except for how it looks again once it has the lock: `to_regclass` may answer from what the session knew before it
-- waited, and then two flushes that both needed the first partition of a day failed one of them with "already exists". A query
-- reads the catalogue as it is.
create or replace function time_partition_ensure(parent text, starts timestamptz[], width interval) returns int
language plpgsql as $$
declare
    start timestamptz;
    child text;
    made int := 0;
    locked boolean := false;
begin
    foreach start in array starts loop
        child := parent || to_char(start at time zone 'UTC', '_YYYYMMDD_HH24');
        continue when to_regclass(quote_ident(child)) is not null;
        if not locked then
            perform pg_advisory_xact_lock(hashtextextended('peep time partitions of ' || parent, 0));
            locked := true;
        end if;
        -- Somebody may have made it while we waited.
        continue when exists (
            select from pg_class c join pg_class p on p.relnamespace = c.relnamespace
            where c.relname = child and p.oid = to_regclass(quote_ident(parent)));
        -- `create table … partition of` would shut out every reader of the parent; attaching a ready-made
        -- empty table does not. Rows up to 8 kB stay in one piece (the default cuts them at 2 kB).
        execute format('create table %I (like %I including all) with (toast_tuple_target = 8160)', child, parent);
        execute format('alter table %I attach partition %I for values from (%L) to (%L)',
            parent, child, start, start + width);
        made := made + 1;
    end loop;
    return made;
end $$;
