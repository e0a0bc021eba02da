//! What one event may hold. Fixed by the contract; sizes of requests are configuration of ingest.

use crate::histogram::DURATION_US_MAX;

/// `service`: 1 to 128 bytes of `[A-Za-z0-9._/-]`.
pub const SERVICE_BYTES_MAX: usize = 128;
/// `env`: 1 to 64 bytes of the same alphabet.
pub const ENV_BYTES_MAX: usize = 64;
/// `route`: a template, 1 to 512 bytes without control characters.
pub const ROUTE_BYTES_MAX: usize = 512;
/// `host` and `version`: up to 255 bytes (a DNS name).
pub const NAME_BYTES_MAX: usize = 255;
/// `source`: up to 32 bytes.
pub const SOURCE_BYTES_MAX: usize = 32;
/// `error`: up to 8 KiB, a message with a short stack.
pub const ERROR_BYTES_MAX: usize = 8 * 1024;
/// `attrs`: up to 32 keys …
pub const ATTRS_MAX: usize = 32;
/// … of up to 128 bytes …
pub const ATTR_KEY_BYTES_MAX: usize = 128;
/// … with values of up to 4 KiB.
pub const ATTR_VALUE_BYTES_MAX: usize = 4 * 1024;
/// `duration_ms`: up to one hour.
pub const DURATION_MS_MAX: u64 = DURATION_US_MAX / 1000;
/// `env` when none is sent.
pub const ENV_DEFAULT: &str = "default";
/// `route` when none is sent.
pub const ROUTE_DEFAULT: &str = "(none)";
/// `source` when none is sent.
pub const SOURCE_DEFAULT: &str = "api";

/// The alphabet of `service` and `env`.
#[inline]
pub const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-')
}
