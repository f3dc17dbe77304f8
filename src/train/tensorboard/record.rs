//! The records of a TFRecord file: length, its checksum, data, their checksum.

/// The remainders of all bytes by the polynomial of CRC-32C (Castagnoli et al. 1993), reflected.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let subtract = if remainder & 1 == 1 { 0x82f6_3b78 } else { 0 };
            remainder = remainder >> 1 ^ subtract;
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    let next = |crc: u32, &byte: &u8| crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize];
    !bytes.iter().fold(!0, next)
}

/// The checksum of data that may hold checksums themselves.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The record of `data`.
pub(super) fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let (before, after) = (masked(&length).to_le_bytes(), masked(data).to_le_bytes());
    [&length[..], &before, data, &after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        assert_eq!(crc32c(&[]), 0);
    }

    #[test]
    fn a_record_is_framed_by_its_length_and_checksums() {
        let record = framed(b"kiln");
        assert_eq!(record.len(), 8 + 4 + 4 + 4);
        assert_eq!((&record[..8], &record[12..16]), (&[4, 0, 0, 0, 0, 0, 0, 0][..], &b"kiln"[..]));
        let unmask = |bytes: &[u8]| {
            let masked = u32::from_le_bytes(bytes.try_into().unwrap());
            masked.wrapping_sub(0xa282_ead8).rotate_left(15)
        };
        assert_eq!(unmask(&record[8..12]), crc32c(&record[..8]));
        assert_eq!(unmask(&record[16..]), crc32c(b"kiln"));
    }
}
