//! `rollup_level` and `rollup_touched`.

use sqlx::PgConnection;

use crate::partition::Cut;

/// Notes which buckets of the next level the cut has pieces for.
pub(super) async fn touched(_connection: &mut PgConnection, _cut: &Cut) -> sqlx::Result<()> {
    Ok(())
}
