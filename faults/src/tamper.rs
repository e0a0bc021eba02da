//! Lies to the judges: changes what was counted, behind the system's back, to see that all of them notice.
//!
//! Arrives: a finished run. Leaves: a verdict that must be red, and that must name the producer; anything else fails.

use anyhow::Context;
use sqlx::PgPool;

use crate::auditor::batch::{Batch, Page, duration_us};
use crate::auditor::journal::{Entries, Outcome};
use crate::random::Random;
use crate::scene::{Oracle, Verdict};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tamper {
    /// One event less in the rollups.
    LoseEvent,
    /// One event once more in the rollups.
    DoubleEvent,
    /// Everything a flush wrote of one series, once more.
    DoublePiece,
}

/// What was done, in words that the verdict has to contain.
#[derive(Clone, Debug)]
pub struct Lie {
    page: Page,
    /// What the auditor must say, if it can be that precise.
    words: Option<String>,
}

impl Tamper {
    /// Changes the rollups.
    pub async fn apply(self, pool: &PgPool, entries: &Entries, random: &mut Random) -> anyhow::Result<Lie> {
        let acked: Vec<&Batch> =
            entries.iter().filter(|(_, entry)| entry.outcome == Outcome::Acked).map(|(batch, _)| batch).collect();
        let batch = **random.pick(&acked);
        let number = random.between(*batch.numbers().start(), *batch.numbers().end() + 1);
        let page = batch.page();
        let (change, words) = match self {
            Self::LoseEvent => (-1, Some(format!("event {number} (batch {}) lost", batch.seq))),
            Self::DoubleEvent => (1, Some(format!("event {number} (batch {}) counted once too often", batch.seq))),
            Self::DoublePiece => (0, None),
        };
        let piece = "from series s where s.series_id = r.series_id and s.service = $1 and s.route = $2
            and (r.bucket, r.up_to_offset) = (select bucket, up_to_offset from rollup_10s f where f.series_id = s.series_id
                order by count desc, bucket, up_to_offset limit 1)";
        let changed = if change == 0 {
            // In the same window, as if another flush had written it.
            let copy = "insert into rollup_10s select r.bucket, r.project_id, r.series_id, r.log_partition, r.up_to_offset - 1, r.count,
                r.errors, r.latency_count, r.sum_us, r.min_us, r.max_us, r.histogram from rollup_10s r, series s
                where s.series_id = r.series_id and s.service = $1 and s.route = $2 order by r.count desc limit 1";
            sqlx::query(copy).bind(page.service()).bind(page.route()).execute(pool).await?
        } else {
            let alter = format!(
                "update rollup_10s r set count = r.count + $3, latency_count = r.latency_count + $3, sum_us = r.sum_us + $4 {piece}"
            );
            let query = sqlx::query(sqlx::AssertSqlSafe(alter)).bind(page.service()).bind(page.route());
            query.bind(change).bind(change * duration_us(number)).execute(pool).await?
        };
        anyhow::ensure!(changed.rows_affected() == 1, "{} rows were changed", changed.rows_affected());
        Ok(Lie { page, words })
    }
}

impl Lie {
    /// Turns the verdict round: what is wrong with the judges.
    pub fn judge_the_judges(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let found = verdict.findings.findings.iter().find(|finding| finding.page == self.page);
        let found = found.context("the auditor names another page, or none")?.to_string();
        let others = verdict.findings.findings.len() - 1;
        anyhow::ensure!(others == 0, "the auditor sees {others} differences that are not there");
        if let Some(words) = &self.words {
            anyhow::ensure!(found.contains(words), "the auditor says \"{found}\" and not \"{words}\"");
        }
        anyhow::ensure!(!verdict.imbalances.is_empty(), "the books still balance");
        let Oracle::Differs(said) = &verdict.oracle else { anyhow::bail!("the oracle sees nothing") };
        anyhow::ensure!(said.contains(&self.page.service()), "the oracle does not name the producer: {said}");
        verdict.notes.push(format!("as it must: \"{found}\"; books and oracle object too"));
        verdict.failures.clear();
        Ok(())
    }
}
