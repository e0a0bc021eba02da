//! What a campaign prints: one line for each fault as it ends, and the same as JSON or as a table for the docs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::campaign::Run;
use crate::scene::Oracle;

/// `F01 passed  0 of 200064 acknowledged lost, 0 doubled, balanced …`
pub fn line(run: &Run) -> String {
    let head = format!("{} {}", run.id, if run.passed() { "passed" } else { "FAILED" });
    let tail = format!("{:.0} s, seed {}", run.took.as_secs_f64(), run.seed);
    match &run.verdict {
        Err(error) => format!("{head}  {}: {error} ({tail})", run.title),
        Ok(verdict) => {
            let mut line = format!("{head}  {}", run.title);
            if !verdict.on_trial {
                let _ = write!(line, ": {}", result(run));
            }
            if let Some(takeover) = verdict.takeover {
                let _ = write!(line, "; takeover {:.1} s", takeover.as_secs_f64());
            }
            for note in &verdict.notes {
                let _ = write!(line, "; {note}");
            }
            let _ = write!(line, " ({tail})");
            for failure in &verdict.failures {
                let _ = write!(line, "\n    {failure}");
            }
            line
        }
    }
}

/// `0 of 200064 acknowledged lost, 0 doubled, balanced`
fn result(run: &Run) -> String {
    match &run.verdict {
        Err(_) => "no verdict".to_owned(),
        Ok(verdict) => {
            let findings = &verdict.findings;
            let balanced = if verdict.imbalances.is_empty() { "balanced" } else { "NOT BALANCED" };
            let oracle = match verdict.oracle {
                Oracle::Agrees(_) => "oracle agrees",
                Oracle::Differs(_) => "ORACLE DIFFERS",
            };
            let by_design = match verdict.lost_by_design {
                0 => String::new(),
                events => format!(" (beside {events} that the log itself lost, all booked)"),
            };
            format!(
                "{} of {} acknowledged lost{by_design}, {} doubled, {balanced}, {oracle}",
                verdict.lost(),
                findings.acked_events,
                findings.doubled()
            )
        }
    }
}

pub fn json(runs: &[Run], about: &About) -> Value {
    let run = |run: &Run| {
        let base = json!({
            "id": run.id, "title": run.title, "seed": run.seed, "passed": run.passed(), "took_s": run.took.as_secs_f64(),
        });
        let detail = match &run.verdict {
            Err(error) => json!({ "error": error }),
            Ok(verdict) => json!({
                "acknowledged_events": verdict.findings.acked_events,
                "acknowledged_batches": verdict.findings.acked_batches,
                "lost_events": verdict.lost(),
                "lost_by_the_log_events": verdict.lost_by_design,
                "doubled_events": verdict.findings.doubled(),
                "unknown_batches": verdict.findings.unknown_batches,
                "unknown_batches_counted": verdict.findings.unknown_counted,
                "refused_batches": verdict.findings.refused_batches,
                "extra_acknowledgements": verdict.findings.extra_acks,
                "balanced": verdict.imbalances.is_empty(),
                "oracle": match &verdict.oracle { Oracle::Agrees(said) | Oracle::Differs(said) => said },
                "oracle_agrees": matches!(verdict.oracle, Oracle::Agrees(_)),
                "takeover_s": verdict.takeover.map(|takeover| takeover.as_secs_f64()),
                "attempts": verdict.progress.attempts,
                "refusals": verdict.progress.refusals,
                "unanswered": verdict.progress.unanswered,
                "slowest_refusal_s": verdict.progress.slowest_refusal.as_secs_f64(),
                "longest_silence_s": verdict.progress.longest_silence.as_secs_f64(),
                "rss_bytes_max": verdict.memory.iter().map(|(role, bytes)| (format!("{role:?}").to_lowercase(), *bytes)).collect::<BTreeMap<_, _>>(),
                "settled_s": verdict.settled.as_secs_f64(),
                "notes": verdict.notes,
                "failures": verdict.failures,
            }),
        };
        merge(base, detail)
    };
    json!({
        "date": about.date, "commit": about.commit, "events_each": about.events,
        "passed": runs.iter().all(Run::passed), "runs": runs.iter().map(run).collect::<Vec<_>>(),
    })
}

fn merge(mut base: Value, detail: Value) -> Value {
    if let (Value::Object(base), Value::Object(detail)) = (&mut base, detail) {
        base.extend(detail);
    }
    base
}

/// Where and when.
#[derive(Clone, Debug)]
pub struct About {
    pub date: String,
    pub commit: String,
    pub events: u64,
}

/// Puts the table into a page: between its markers, or all of it when there is no such page.
pub fn into_page(page: Option<&str>, table: &str) -> String {
    let whole = || table.to_owned();
    page.map_or_else(whole, |page| match (page.split_once(BEGIN), page.split_once(END)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{BEGIN}\n{table}{END}{after}"),
        _ => whole(),
    })
}

const BEGIN: &str = "<!-- campaign: begin -->";
const END: &str = "<!-- campaign: end -->";

/// The table of docs/guarantees.md.
pub fn markdown(runs: &[Run], about: &About) -> String {
    let mut text = format!(
        "Run on {} at commit `{}`, at least {} acknowledged events for each fault.\n\n\
         | fault | what breaks | acknowledged | lost | doubled | books | takeover | notes |\n\
         | --- | --- | ---: | ---: | ---: | --- | ---: | --- |\n",
        about.date, about.commit, about.events
    );
    // The trials of the judges lose events on purpose: they have no place among the others.
    for run in runs.iter().filter(|run| run.id.starts_with('F')) {
        let _ = match &run.verdict {
            Err(error) => writeln!(text, "| {} | {} | | | | no verdict | | {} |", run.id, run.title, cell(error)),
            Ok(verdict) => writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                run.id,
                run.title,
                verdict.findings.acked_events,
                verdict.lost(),
                verdict.findings.doubled(),
                match (verdict.imbalances.is_empty(), &verdict.oracle, run.passed()) {
                    (true, Oracle::Agrees(_), true) => "balanced, oracle agrees",
                    (true, Oracle::Agrees(_), false) => "balanced, **failed**",
                    _ => "**not balanced**",
                },
                verdict.takeover.map_or_else(String::new, seconds),
                cell(&verdict.notes.join("; ")),
            ),
        };
    }
    let trials: Vec<&Run> = runs.iter().filter(|run| !run.id.starts_with('F')).collect();
    if !trials.is_empty() {
        let noticed = trials.iter().filter(|run| run.passed()).count();
        let _ = writeln!(text, "\nOf {} lies told to the judges, {noticed} were noticed by all of them.", trials.len());
    }
    text
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let page = format!("before {BEGIN} old {END} after");
        assert_eq!(into_page(Some(&page), "new\n"), format!("before {BEGIN}\nnew\n{END} after"));
        assert_eq!(into_page(None, "new\n"), "new\n");
    }
}
