//! The check of the fuzz target `access_log`, replayed on seeds and seeded mutations of them.

mod access_log;
#[path = "../../../wire/tests/fuzz/replay.rs"]
mod replay;

#[test]
fn access_log_lines() {
    let logs = [
        include_bytes!("../fixtures/nginx_hostile_40.combined.log").as_slice(),
        include_bytes!("../fixtures/nginx_hostile_40.json.log"),
        include_bytes!("../fixtures/nginx_hostile_40.timed.log"),
        include_bytes!("../fixtures/nginx_combined_rt_isucon9_90.log"),
    ];
    let lines = logs.iter().flat_map(|log| log.split(|&byte| byte == b'\n').step_by(3));
    let seeds: Vec<Vec<u8>> = lines.filter(|line| line.len() < 2048).map(<[u8]>::to_vec).collect();
    let tokens: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"\\x22",
        b"\\u0000",
        b" ",
        b"[",
        b"]",
        b"-",
        b"\x1b[31m",
        b"\x80",
        b"\xff",
        b"\0",
        b"rt=",
        b"request_time",
        b"99999999999999999999",
        b"0.000",
        b"%00",
        b"%2f",
        b"?",
        b"#",
        b"HTTP/1.1",
        b"\"ts\":",
        b"\"host\":",
    ];
    replay::replay("access_log", &seeds, tokens, access_log::check);
}
