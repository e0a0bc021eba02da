//! Receipts: where in the log an acknowledged batch lies, as opaque text.
//!
//! A 202 carries one; it later answers "is my event in the numbers?" by comparing the offset with the
//! partition's cursor. The text is dotted hex, fit for copy and paste: version, project, partition,
//! offset and a CRC that catches typing errors. It grants nothing: looking one up needs a read key
//! of the same project.

use std::fmt;
use std::str::FromStr;

use crate::ids::ProjectId;

/// The place of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Whose batch it is.
    pub project: ProjectId,
    /// Log partition.
    pub partition: u32,
    /// Offset in it.
    pub offset: u64,
}

/// Text that is no receipt.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a receipt: copy the whole `receipt` of a 202 answer")]
pub struct ReceiptError;

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // On the way of every accepted request: no allocation, and digits by hand.
        let mut text = Text { bytes: [0; _], length: 0 };
        b"r1.".iter().for_each(|byte| text.push(*byte));
        text.push_hex(self.project.0);
        text.push(b'.');
        text.push_hex(self.partition.into());
        text.push(b'.');
        text.push_hex(self.offset);
        let crc = crc32fast::hash(&text.bytes[3..text.length]);
        f.write_str(std::str::from_utf8(&text.bytes[..text.length]).unwrap_or_default())?;
        write!(f, ".{crc:08x}")
    }
}

/// Room for the longest: `r1.`, sixteen digits, a dot, eight digits, a dot and sixteen digits.
struct Text {
    bytes: [u8; 45],
    length: usize,
}

impl Text {
    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn push_hex(&mut self, number: u64) {
        let digits = (64 - (number | 1).leading_zeros()).div_ceil(4);
        for digit in (0..digits).rev() {
            self.push(b"0123456789abcdef"[(number >> (digit * 4) & 0xf) as usize]);
        }
    }
}

impl FromStr for Receipt {
    type Err = ReceiptError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let body = text.strip_prefix("r1.").ok_or(ReceiptError)?;
        let (body, crc) = body.rsplit_once('.').ok_or(ReceiptError)?;
        if crc.len() != 8 || u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(body.as_bytes())) {
            return Err(ReceiptError);
        }
        let mut parts = body.split('.');
        let mut part = || parts.next().and_then(|part| u64::from_str_radix(part, 16).ok()).ok_or(ReceiptError);
        let (project, partition, offset) = (part()?, part()?, part()?);
        let partition = u32::try_from(partition).map_err(|_| ReceiptError)?;
        let receipt = Receipt { project: ProjectId(project), partition, offset };
        // One place, one text: no capitals, no signs, no leading zeros, nothing behind.
        if receipt.to_string() == text { Ok(receipt) } else { Err(ReceiptError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_back_and_a_typo_is_found() {
        let receipt = Receipt { project: ProjectId(7), partition: 3, offset: 88_412 };
        let text = receipt.to_string();
        assert_eq!(text.parse(), Ok(receipt));
        assert_eq!(text.replacen('3', "4", 1).parse::<Receipt>(), Err(ReceiptError));
        assert_eq!("".parse::<Receipt>(), Err(ReceiptError));
    }

    #[test]
    fn the_smallest_and_the_largest_are_hexadecimal_without_leading_zeros() {
        for (project, partition, offset) in [(0, 0, 0), (16, 15, 255), (u64::MAX, u32::MAX, u64::MAX)] {
            let text = Receipt { project: ProjectId(project), partition, offset }.to_string();
            let body = format!("{project:x}.{partition:x}.{offset:x}");
            assert_eq!(text, format!("r1.{body}.{:08x}", crc32fast::hash(body.as_bytes())));
        }
    }
}
