//! The database schema, one commented file per step.
//!
//! Arrives: an empty or older peep database. Leaves: the schema this build was compiled with.
//! Promises: a step that was released is never edited; steps expand first and contract in a later
//! release, so that the previous release keeps working while a new one rolls out.
//! Deliberately absent: data fixes and seeds (see `peep key create`), and anything that needs a
//! superuser or an extension.
//!
//! The files lie next to `Cargo.toml` in this folder, named `<number>_<what>.sql`.

use sqlx::migrate::Migrator;

/// `MIGRATIONS.run(&pool)` brings a database up to date. Safe to call from several processes at once:
/// sqlx holds an advisory lock meanwhile, which needs a direct connection and not a transaction pooler.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");
