//! What a bench found, as lines of the one table that all benches end in: the cost, the floor under it, and whether the promise
//! was kept.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::statistics::Spread;

/// Everything that one bench found.
pub type Rows = Vec<Row>;

/// One line of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub work: String,
    /// CPU of the work in µs per event, which is CPU-seconds per million events.
    pub cost: Option<Spread>,
    pub floor: Option<Floor>,
    /// What `must` and `aim` are about.
    pub result: Spread,
    pub unit: String,
    pub must: Option<Bound>,
    pub aim: Option<Bound>,
    /// Events per second that one core must manage beside that.
    pub per_core_min: Option<f64>,
}

/// What nobody can do the same work without.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Floor {
    pub name: String,
    /// In µs of CPU per event.
    pub cost: Spread,
}

/// Of a median.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is no must.
    Measured,
    Missed,
    Must,
    Aim,
}

impl Row {
    /// A cost as a multiple of its floor: both measured in turns, each round with a ratio of its own.
    pub fn ratio(work: impl Into<String>, cost: &Spread, floor_name: &str, floor: &Spread, ratio: &Spread) -> Row {
        Row {
            cost: Some(cost.clone()),
            floor: Some(Floor { name: floor_name.to_owned(), cost: floor.clone() }),
            ..Row::figure(work, "× floor", ratio)
        }
    }

    /// A figure that stands for itself.
    pub fn figure(work: impl Into<String>, unit: &str, result: &Spread) -> Row {
        Row {
            work: work.into(),
            cost: None,
            floor: None,
            result: result.clone(),
            unit: unit.to_owned(),
            must: None,
            aim: None,
            per_core_min: None,
        }
    }

    #[must_use]
    pub fn must(self, must: Bound) -> Row {
        Row { must: Some(must), ..self }
    }

    #[must_use]
    pub fn aim(self, aim: Bound) -> Row {
        Row { aim: Some(aim), ..self }
    }

    #[must_use]
    pub fn per_core_min(self, events_per_second: f64) -> Row {
        Row { per_core_min: Some(events_per_second), ..self }
    }

    pub fn verdict(&self) -> Verdict {
        let result = self.result.median();
        let per_core = self.per_core().unwrap_or(f64::INFINITY);
        if self.must.is_some_and(|must| !must.holds(result)) || self.per_core_min.is_some_and(|min| per_core < min) {
            Verdict::Missed
        } else if self.aim.is_some_and(|aim| aim.holds(result)) {
            Verdict::Aim
        } else if self.must.is_some() || self.per_core_min.is_some() {
            Verdict::Must
        } else {
            Verdict::Measured
        }
    }

    /// Events per second that one core manages: one over the cost.
    fn per_core(&self) -> Option<f64> {
        self.cost.as_ref().map(|cost| 1e6 / cost.median())
    }

    fn markdown(&self) -> String {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let per_core = self.per_core_min.map(|min| format!("{} /s/core", Bound::AtLeast(min)));
        let musts: Vec<String> = self.must.map(|must| must.to_string()).into_iter().chain(per_core).collect();
        let must = or_dash(Some(musts.join(", ")).filter(|text| !text.is_empty()));
        format!(
            "| {} | {} | {} | {} | {} {} | {must} | {} | {} |",
            self.work,
            or_dash(self.cost.as_ref().map(Spread::to_string)),
            or_dash(self.per_core().map(thousands)),
            or_dash(self.floor.as_ref().map(|floor| format!("{}: {}", floor.name, floor.cost))),
            self.result,
            self.unit,
            or_dash(self.aim.map(|aim| aim.to_string())),
            self.verdict(),
        )
    }
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        // Not a number keeps no promise.
        match self {
            Bound::AtMost(max) => value <= max,
            Bound::AtLeast(min) => value >= min,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value) = match self {
            Bound::AtMost(max) => ("≤", *max),
            Bound::AtLeast(min) => ("≥", *min),
        };
        if value >= 10_000.0 { write!(f, "{sign} {}", thousands(value)) } else { write!(f, "{sign} {value}") }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Measured => "–",
            Verdict::Missed => "**missed**",
            Verdict::Must => "must",
            Verdict::Aim => "aim",
        })
    }
}

fn thousands(value: f64) -> String {
    format!("{:.0} k", value / 1000.0)
}

/// The whole table in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = "| work | CPU-s per million events | events/s/core | floor | result | must | aim | reached |\n\
                    | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in rows {
        text.push_str(&row.markdown());
        text.push('\n');
    }
    text
}

/// Names the work whose must was missed.
///
/// # Errors
/// When there is any.
pub fn check(rows: &[Row]) -> anyhow::Result<()> {
    let missed: Vec<&str> =
        rows.iter().filter(|row| row.verdict() == Verdict::Missed).map(|row| row.work.as_str()).collect();
    anyhow::ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// Adds rows to a file, for the table at the end of several benches.
///
/// # Errors
/// When the file cannot be written.
pub fn append(file: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let mut file =
        OpenOptions::new().create(true).append(true).open(file).with_context(|| format!("open {}", file.display()))?;
    for row in rows {
        writeln!(file, "{}", serde_json::to_string(row)?)?;
    }
    Ok(())
}

/// What [`append`] has written.
///
/// # Errors
/// When there is no such file or it holds something else.
pub fn read(file: &Path) -> anyhow::Result<Rows> {
    let lines = BufReader::new(File::open(file).with_context(|| format!("open {}", file.display()))?).lines();
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(result: f64) -> Row {
        let spread = |value| Spread::from_iter([value]);
        Row::ratio("work", &spread(2.0), "floor", &spread(1.0), &spread(result))
            .must(Bound::AtMost(1.5))
            .aim(Bound::AtMost(1.2))
    }

    #[test]
    fn a_result_between_must_and_aim_is_a_must_and_one_above_is_missed() {
        assert_eq!([1.2, 1.3, 1.6, f64::NAN].map(|result| row(result).verdict()), {
            [Verdict::Aim, Verdict::Must, Verdict::Missed, Verdict::Missed]
        });
    }

    #[test]
    fn a_good_ratio_does_not_excuse_too_few_events_a_core() {
        assert_eq!(row(1.0).per_core_min(400_000.0).verdict(), Verdict::Aim);
        assert_eq!(row(1.0).per_core_min(600_000.0).verdict(), Verdict::Missed);
    }

    #[test]
    fn any_missed_row_fails_the_whole_table_by_name() {
        assert!(check(&[row(1.0), row(1.5)]).is_ok());
        assert_eq!(check(&[row(1.0), row(9.0)]).unwrap_err().to_string(), "missed: work");
    }

    #[test]
    fn rows_survive_the_file_between_two_benches() {
        let file = std::env::temp_dir().join(format!("peep-rows-{}", std::process::id()));
        append(&file, &[row(1.0)]).unwrap();
        append(&file, &[row(2.0)]).unwrap();
        let rows = read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(table(&rows), table(&[row(1.0), row(2.0)]));
    }
}
