use peep_wire::histogram::Histogram;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

struct Row<'a>(&'a Columns);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.serialize_into(&mut map)?;
        map.end()
    }
}

fn figures(status: u16, durations_us: &[u64], without_duration: u64) -> Figures {
    let mut latency = Histogram::new();
    durations_us.iter().for_each(|&us| latency.record(us));
    let mut figures = Figures::default();
    figures.add(status, durations_us.len() as u64 + without_duration, u64::from(status >= 500), &latency);
    figures
}

#[test]
fn a_gap_is_null_in_every_column_and_a_value_that_does_not_exist_in_its_own() {
    let mut columns = Columns::new(&Quantiles::of_a_chart());
    columns.push(10, Some(&figures(200, &[1000, 3000], 0)));
    columns.push(20, None);
    columns.push(30, Some(&figures(0, &[], 2)));
    let expected = json!({
        "t": [10_000, 20_000, 30_000],
        "count": [2, null, 2],
        "errors": [0, null, 0],
        "latency_count": [2, null, 0],
        "mean_ms": [2.0, null, null],
        "max_ms": [3.0, null, null],
        "status": {
            "1xx": [0, null, 0], "2xx": [2, null, 0], "3xx": [0, null, 0], "4xx": [0, null, 0], "5xx": [0, null, 0],
            "unknown": [0, null, 2]
        },
        "quantiles_ms": {"0.5": [1.0, null, null], "0.95": [3.0, null, null], "0.99": [3.0, null, null]}
    });
    assert_eq!(serde_json::to_value(Row(&columns)).expect("plain values"), expected);
}

#[test]
fn totals_of_nothing_claim_nothing() {
    let nothing = Figures::default();
    let totals = Totals { figures: &nothing, elapsed_s: 10.0, quantiles: &Quantiles::of_a_chart() };
    let json = serde_json::to_value(&totals).expect("plain values");
    assert_eq!(json["rate"], json!(0.0));
    assert_eq!((&json["error_rate"], &json["mean_ms"], &json["max_ms"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(json["quantiles_ms"]["0.99"], Value::Null);
}

proptest! {
    #[test]
    fn columns_are_equally_long_and_ascend(steps in prop::collection::btree_map(0i64..1000, prop::option::of(prop::collection::vec(0u64..1_000_000, 0..4)), 0..40)) {
        let mut columns = Columns::new(&Quantiles::usual());
        for (at, durations) in &steps {
            columns.push(*at, durations.as_ref().map(|us| figures(200, us, 0)).as_ref());
        }
        let json = serde_json::to_value(Row(&columns)).expect("plain values");
        let mut arrays: Vec<&Value> = ["t", "count", "errors", "latency_count", "mean_ms", "max_ms"].map(|name| &json[name]).to_vec();
        arrays.extend(json["status"].as_object().expect("object").values());
        arrays.extend(json["quantiles_ms"].as_object().expect("object").values());
        for array in arrays {
            prop_assert_eq!(array.as_array().map(Vec::len), Some(steps.len()));
        }
        prop_assert!(columns.t().is_sorted_by(|left, right| left < right));
    }
}
