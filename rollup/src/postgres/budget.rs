//! `series_budget` and `series_overflow`.

use sqlx::PgConnection;

use crate::partition::{Cut, Restored};

/// Keeps the changed budgets of a cut, and where the series went that found no place.
pub(super) async fn upsert(_connection: &mut PgConnection, _cut: &Cut) -> sqlx::Result<()> {
    Ok(())
}

/// Reads the budgets of a partition.
pub(super) async fn restore(
    _connection: &mut PgConnection,
    _partition: u32,
    _restored: &mut Restored,
) -> sqlx::Result<()> {
    Ok(())
}
