-- Keys for browsers. Such a key is in the source of a page, so it is no secret: it opens as little as possible, and only for
-- pages of the listed origins.
alter table api_key
    -- null: not for browsers. In the text that browsers send, so that comparing is comparing texts.
    add column origins text[],
    -- Written so that null passes. A key that everybody can read must not be able to read.
    add constraint api_key_origins check (origins is null or (scope = 'ingest' and cardinality(origins) between 1 and 64));
