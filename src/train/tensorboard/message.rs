//! Messages in the encoding of Protocol Buffers, as far as event files need it.

/// The bytes of a message, field by field.
#[derive(Default)]
pub(super) struct Message(pub Vec<u8>);

/// How the value of a field is written.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

impl Message {
    fn key(&mut self, field: u64, wire: Wire) {
        self.varint(field << 3 | wire as u64);
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn int(&mut self, field: u64, number: u64) {
        self.key(field, Wire::Varint);
        self.varint(number);
    }

    pub fn double(&mut self, field: u64, number: f64) {
        self.key(field, Wire::Fixed64);
        self.0.extend(number.to_le_bytes());
    }

    pub fn float(&mut self, field: u64, number: f32) {
        self.key(field, Wire::Fixed32);
        self.0.extend(number.to_le_bytes());
    }

    /// A text, or a message within the message.
    pub fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, Wire::Bytes);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// A packed list.
    pub fn doubles(&mut self, field: u64, numbers: &[f64]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.bytes(field, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_specification_shows_them() {
        // The first two from protobuf.dev/programming-guides/encoding.
        let mut message = Message::default();
        message.int(1, 150);
        assert_eq!(message.0, [0x08, 0x96, 0x01]);
        let mut message = Message::default();
        message.bytes(2, b"testing");
        assert_eq!(message.0, [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        let mut message = Message::default();
        message.float(2, 1.0);
        message.double(1, -2.0);
        message.doubles(6, &[1.0]);
        let float = [0x15, 0, 0, 0x80, 0x3f];
        let double = [0x09, 0, 0, 0, 0, 0, 0, 0, 0xc0];
        let list = [0x32, 8, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
        assert_eq!(message.0, [&float[..], &double, &list].concat());
        let mut message = Message::default();
        message.int(1, u64::MAX);
        assert_eq!(message.0.len(), 11);
    }
}
