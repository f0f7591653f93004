#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fos_tests::fuzz::pack_keys(data));
