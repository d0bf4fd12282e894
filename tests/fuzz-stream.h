#ifndef FUZZ_STREAM_H
#define FUZZ_STREAM_H

/* What libFuzzer calls, and test-stream for each file of the corpus. Panics
   when the reader breaks a rule, returns 0 otherwise. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
