//! Receipts.

use peep_wire::receipt::Receipt;

/// As it is, and with a checksum that fits: a receipt has one text.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let checked = format!("r1.{text}.{:08x}", crc32fast::hash(data));
    for text in [text, &checked] {
        if let Ok(receipt) = text.parse::<Receipt>() {
            assert_eq!(receipt.to_string(), text);
        }
    }
}
