//! `dedup_window` and `duplicate_batch`.

use sqlx::PgConnection;

use crate::partition::{Cut, Restored};

/// Keeps the touched windows and the duplicates of a cut.
pub(super) async fn upsert(_connection: &mut PgConnection, _cut: &Cut) -> sqlx::Result<()> {
    Ok(())
}

/// Reads the windows of a partition.
pub(super) async fn restore(
    _connection: &mut PgConnection,
    _partition: u32,
    _restored: &mut Restored,
) -> sqlx::Result<()> {
    Ok(())
}
