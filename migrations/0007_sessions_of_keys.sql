-- A session that was opened with a key ends with that key: whoever revokes a key that leaked means everything that it opened.
alter table session
    -- null: opened by a login link, or before this step. No index: sessions are looked up by their digest, and the key by its own.
    add column key_id bigint references api_key (key_id);
