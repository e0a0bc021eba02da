//! What a campaign prints: one line for each case as it ends, and the same as JSON or as a table for the docs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::campaign::Run;

/// `H03 passed  zstd frame that declares a window of 512 MiB: 400, +3.0 MiB of 16.0 MiB (2 s)`
pub fn line(run: &Run) -> String {
    let verdict = if run.passed() { "passed" } else { "FAILED" };
    let mut line = format!("{} {verdict}  {}: {} ({:.0} s)", run.id, run.title, result(run), run.took.as_secs_f64());
    if let Ok(findings) = &run.findings {
        for failure in &findings.failures {
            let _ = write!(line, "\n    {failure}");
        }
    }
    line
}

fn result(run: &Run) -> String {
    match &run.findings {
        Ok(findings) => findings.notes.join(", "),
        Err(error) => format!("no verdict: {error}"),
    }
}

pub fn json(runs: &[Run], about: &About) -> Value {
    let run = |run: &Run| {
        let (notes, failures) = match &run.findings {
            Ok(findings) => (findings.notes.clone(), findings.failures.clone()),
            Err(error) => (Vec::new(), vec![error.clone()]),
        };
        json!({
            "id": run.id, "title": run.title, "expects": run.expects, "passed": run.passed(),
            "took_s": run.took.as_secs_f64(), "notes": notes, "failures": failures,
        })
    };
    json!({
        "date": about.date, "commit": about.commit,
        "passed": runs.iter().all(Run::passed), "runs": runs.iter().map(run).collect::<Vec<_>>(),
    })
}

/// Where and when.
#[derive(Clone, Debug)]
pub struct About {
    pub date: String,
    pub commit: String,
}

/// Puts the table into a page: between its markers, or all of it when there is no such page.
pub fn into_page(page: Option<&str>, table: &str) -> String {
    let whole = || table.to_owned();
    page.map_or_else(whole, |page| match (page.split_once(BEGIN), page.split_once(END)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{BEGIN}\n{table}{END}{after}"),
        _ => whole(),
    })
}

const BEGIN: &str = "<!-- results: begin -->";
const END: &str = "<!-- results: end -->";

/// The table of docs/hostile-input.md.
pub fn markdown(runs: &[Run], about: &About) -> String {
    let mut text = format!(
        "Run on {} at commit `{}`.\n\n| case | what is sent | expected | found | |\n| --- | --- | --- | --- | --- |\n",
        about.date, about.commit
    );
    for run in runs {
        let verdict = if run.passed() { "passed" } else { "**failed**" };
        let (title, expects, found) = (cell(run.title), cell(run.expects), cell(&result(run)));
        let _ = writeln!(text, "| {} | {title} | {expects} | {found} | {verdict} |", run.id);
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
