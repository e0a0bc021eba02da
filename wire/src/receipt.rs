//! Receipts: where in the log an acknowledged batch lies, as opaque text.
//!
//! A 202 carries one; it later answers "is my event in the numbers?" by comparing the offset with the
//! partition's cursor. The text is dotted hex, fit for copy and paste: version, project, partition,
//! offset and a CRC that catches typing errors; of a batch that shares its record with others (`r2`) also which events of the
//! record are its own. It grants nothing: looking one up needs a read key
//! of the same project.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::ids::ProjectId;

/// The place of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Whose batch it is.
    pub project: ProjectId,
    /// Log partition.
    pub partition: u32,
    /// Offset in it.
    pub offset: u64,
    /// Which events of the record, when it is a bundle.
    pub share: Option<Share>,
}

/// The events of one batch of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The index of the first one in the record.
    pub first_event: u32,
    /// How many.
    pub events: u32,
}

impl Receipt {
    /// The indices that events of the batch have in the record; one more than there are, as in the record.
    pub fn indices(&self) -> RangeInclusive<u32> {
        match self.share {
            Some(share) => share.first_event..=share.first_event.saturating_add(share.events),
            None => 0..=u32::MAX,
        }
    }
}

/// Text that is no receipt.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a receipt: copy the whole `receipt` of a 202 answer")]
pub struct ReceiptError;

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // On the way of every accepted request: no allocation, and digits by hand.
        let mut text = Text { bytes: [0; _], length: 0 };
        let version = if self.share.is_none() { b"r1." } else { b"r2." };
        version.iter().for_each(|byte| text.push(*byte));
        text.push_hex(self.project.0);
        text.push(b'.');
        text.push_hex(self.partition.into());
        text.push(b'.');
        text.push_hex(self.offset);
        if let Some(share) = self.share {
            text.push(b'.');
            text.push_hex(share.first_event.into());
            text.push(b'.');
            text.push_hex(share.events.into());
        }
        let crc = crc32fast::hash(&text.bytes[3..text.length]);
        f.write_str(std::str::from_utf8(&text.bytes[..text.length]).unwrap_or_default())?;
        write!(f, ".{crc:08x}")
    }
}

/// Room for the longest: `r2.`, sixteen digits, a dot, eight digits, a dot, sixteen digits, and twice a dot and eight digits.
struct Text {
    bytes: [u8; 63],
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
        let body = text.strip_prefix("r1.").or_else(|| text.strip_prefix("r2.")).ok_or(ReceiptError)?;
        let (body, crc) = body.rsplit_once('.').ok_or(ReceiptError)?;
        if crc.len() != 8 || u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(body.as_bytes())) {
            return Err(ReceiptError);
        }
        let mut parts = body.split('.');
        let mut part = || parts.next().and_then(|part| u64::from_str_radix(part, 16).ok()).ok_or(ReceiptError);
        let (project, partition, offset) = (part()?, part()?, part()?);
        let small = |number: u64| u32::try_from(number).map_err(|_| ReceiptError);
        let share = match text.starts_with("r2.") {
            true => Some(Share { first_event: small(part()?)?, events: small(part()?)? }),
            false => None,
        };
        let receipt = Receipt { project: ProjectId(project), partition: small(partition)?, offset, share };
        // One place, one text: no capitals, no signs, no leading zeros, nothing behind.
        if receipt.to_string() == text { Ok(receipt) } else { Err(ReceiptError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_back_and_a_typo_is_found() {
        let alone = Receipt { project: ProjectId(7), partition: 3, offset: 88_412, share: None };
        let shared = Receipt { share: Some(Share { first_event: 12, events: 2 }), ..alone };
        for receipt in [alone, shared] {
            reads_back(receipt);
        }
        assert_eq!((shared.indices(), alone.indices()), (12..=14, 0..=u32::MAX));
    }

    fn reads_back(receipt: Receipt) {
        let text = receipt.to_string();
        assert_eq!(text.parse(), Ok(receipt));
        assert_eq!(text.replacen('3', "4", 1).parse::<Receipt>(), Err(ReceiptError));
        assert_eq!("".parse::<Receipt>(), Err(ReceiptError));
    }

    #[test]
    fn the_smallest_and_the_largest_are_hexadecimal_without_leading_zeros() {
        for (project, partition, offset) in [(0, 0, 0), (16, 15, 255), (u64::MAX, u32::MAX, u64::MAX)] {
            let text = Receipt { project: ProjectId(project), partition, offset, share: None }.to_string();
            let body = format!("{project:x}.{partition:x}.{offset:x}");
            assert_eq!(text, format!("r1.{body}.{:08x}", crc32fast::hash(body.as_bytes())));
        }
    }
}
