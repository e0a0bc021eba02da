//! What `/metrics` says beside the recorder's own metrics, and the two formats it is said in.
//!
//! Arrives: sources that write their families when somebody scrapes, because keeping thousands of label sets in the recorder would
//! cost memory whether or not anybody asks. Leaves: text, version 0.0.4 of Prometheus' format or OpenMetrics 1.0, which can carry
//! exemplars. Promises: a source is asked once per scrape and only while its owner keeps it; both formats say the same numbers.
//!
//! Does not: render the protobuf format, so that native histograms, which exist in no text format, are not offered.

use std::fmt::Write as _;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// How a scraper wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for; OpenMetrics only when it is named, as scrapers that understand it do.
    pub fn accepted(accept: &str) -> Self {
        let openmetrics = accept.split(',').any(|one| {
            let mut parts = one.split(';').map(str::trim);
            let named = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/openmetrics-text"));
            named
                && parts
                    .all(|parameter| !matches!(parameter.replace(' ', "").as_str(), "q=0" | "q=0.0" | "version=2.0.0"))
        });
        if openmetrics { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes metric families.
pub trait Source: Send + Sync {
    /// Appends whole families. Called with every scrape, by one scraper at a time.
    fn write(&self, format: Format, out: &mut String);
}

/// The sources of a process. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Exposition {
    sources: Arc<Mutex<Vec<Weak<dyn Source>>>>,
}

impl Exposition {
    /// Asks `source` from now on, until its owner drops it.
    pub fn register<S: Source + 'static>(&self, source: &Arc<S>) {
        let source: Weak<S> = Arc::downgrade(source);
        let mut sources = self.sources.lock();
        sources.retain(|known| known.strong_count() > 0);
        sources.push(source);
    }

    /// Appends what all sources say.
    pub fn write(&self, format: Format, out: &mut String) {
        let sources: Vec<Arc<dyn Source>> = self.sources.lock().iter().filter_map(Weak::upgrade).collect();
        sources.iter().for_each(|source| source.write(format, out));
    }
}

/// `# HELP` and `# TYPE` of a family. A counter's name ends in `_total`, which OpenMetrics only has in its samples.
pub fn write_head(format: Format, out: &mut String, name: &str, kind: &str, help: &str) {
    let family = match (format, kind) {
        (Format::OpenMetrics, "counter") => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    let _ = writeln!(out, "# HELP {family} {}", escaped_help(format, help));
    let _ = writeln!(out, "# TYPE {family} {kind}");
}

/// A label's value between its quotes.
pub fn write_label_value(out: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            letter => out.push(letter),
        }
    }
}

/// An upper bound as the format writes it: OpenMetrics knows floats only (`1.0`), and to a scraper `1` is another series.
pub fn bound_text(format: Format, bound: f64) -> String {
    match format {
        Format::Text => format!("{bound}"),
        Format::OpenMetrics => format!("{bound:?}"),
    }
}

/// Prometheus text of the recorder as OpenMetrics, without the end mark.
pub(crate) fn to_openmetrics(text: &str, out: &mut String) {
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap_or((help, ""));
            // Every name that ends like this is a counter: the catalogues' tests see to it.
            let family = name.strip_suffix("_total").unwrap_or(name);
            let _ = writeln!(out, "# HELP {family} {}", help.replace('"', "\\\""));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap_or((kind, "unknown"));
            let family = name.strip_suffix("_total").unwrap_or(name);
            let _ = writeln!(out, "# TYPE {family} {kind}");
        } else if line.starts_with('#') {
            // A comment; OpenMetrics has none.
        } else {
            write_sample(line, out);
        }
    }
}

/// Bounds of buckets as floats; everything else is the same in both formats.
fn write_sample(line: &str, out: &mut String) {
    let bound = line.find("le=\"").map(|at| at + 4).and_then(|from| {
        let len = line[from..].find('"')?;
        let text = &line[from..from + len];
        text.bytes().all(|byte| byte.is_ascii_digit()).then_some(from + len)
    });
    match bound {
        Some(end) if line.contains("_bucket{") => {
            out.push_str(&line[..end]);
            out.push_str(".0");
            out.push_str(&line[end..]);
        }
        _ => out.push_str(line),
    }
    out.push('\n');
}

fn escaped_help(format: Format, help: &str) -> String {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    match format {
        Format::Text => help,
        Format::OpenMetrics => help.replace('"', "\\\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        for text in ["", "*/*", "text/plain", "application/openmetrics-text;q=0, text/plain", "application/json"] {
            assert_eq!(Format::accepted(text), Format::Text, "{text}");
        }
    }

    #[test]
    fn recorded_metrics_are_the_same_numbers_in_openmetrics() {
        let text = "# HELP a_total Of \"a\".\n# TYPE a_total counter\na_total{k=\"v\"} 3\n\n# HELP b_seconds B.\n# TYPE b_seconds histogram\n\
                    b_seconds_bucket{le=\"0.5\"} 1\nb_seconds_bucket{le=\"1\"} 2\nb_seconds_bucket{le=\"+Inf\"} 2\nb_seconds_sum 1\n";
        let mut out = String::new();
        to_openmetrics(text, &mut out);
        let expected = "# HELP a Of \\\"a\\\".\n# TYPE a counter\na_total{k=\"v\"} 3\n# HELP b_seconds B.\n# TYPE b_seconds histogram\n\
                        b_seconds_bucket{le=\"0.5\"} 1\nb_seconds_bucket{le=\"1.0\"} 2\nb_seconds_bucket{le=\"+Inf\"} 2\nb_seconds_sum 1\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn a_source_is_asked_as_long_as_its_owner_keeps_it() {
        struct One;
        impl Source for One {
            fn write(&self, format: Format, out: &mut String) {
                write_head(format, out, "one_total", "counter", "One.");
                out.push_str("one_total 1\n");
            }
        }
        let exposition = Exposition::default();
        let source = Arc::new(One);
        exposition.register(&source);
        let say = |format| {
            let mut out = String::new();
            exposition.write(format, &mut out);
            out
        };
        assert_eq!(say(Format::Text), "# HELP one_total One.\n# TYPE one_total counter\none_total 1\n");
        assert_eq!(say(Format::OpenMetrics), "# HELP one One.\n# TYPE one counter\none_total 1\n");
        drop(source);
        assert_eq!(say(Format::Text), "");
    }
}
