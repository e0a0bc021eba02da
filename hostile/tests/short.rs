//! The cases that need no other programs, against the real binary. `make hostile` runs all of them.

use peep_hostile::campaign;
use peep_hostile::cases;
use peep_hostile::report;
use peep_hostile::site::Site;

/// A minute's worth.
const SHORT: &[&str] = &["H03a", "H03d", "H03e", "H04a", "H04c", "H05a", "H08a", "H10a", "H11", "H15a", "H15b"];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_has_a_defined_answer_and_nobody_else_notices() {
    let site = Site::default();
    let (mut failed, mut played) = (Vec::new(), 0);
    for case in cases::all().into_iter().filter(|case| SHORT.contains(&case.id)) {
        let run = campaign::run(&site, case).await;
        println!("{}", report::line(&run));
        played += 1;
        if !run.passed() {
            failed.push(report::line(&run));
        }
    }
    assert_eq!(played, SHORT.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
