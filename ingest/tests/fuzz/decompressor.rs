//! Compressed bodies.

use std::io::Write;
use std::sync::OnceLock;

use peep_chassis::config::Settings;
use peep_ingest::Config;
use peep_ingest::fuzz::decompress;

const BYTES_MAX: usize = 64 << 10;

/// Whatever claims to be compressed: at most the limit comes out; and what was compressed comes back.
pub(crate) fn check(data: &[u8]) {
    let config = config();
    for encoding in ["identity", "gzip", "zstd", "deflate"] {
        let out = decompress(config, encoding, data);
        assert!(out.is_none_or(|out| out.len() <= BYTES_MAX.max(data.len())), "{encoding}");
    }
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let zlib = zlib.write_all(data).and_then(|()| zlib.finish()).expect("a vector takes everything");
    assert_eq!(decompress(config, "deflate", &zlib).as_deref(), Some(data));
}

/// The defaults with a smaller body.
fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let nothing_set = std::collections::BTreeMap::<String, String>::new();
        let mut config = Config::read(&mut Settings::new(&nothing_set));
        config.limits.body_bytes_max = BYTES_MAX;
        config
    })
}
