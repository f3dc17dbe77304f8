#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    kiln_nn::store::parsers::file(bytes);
});
