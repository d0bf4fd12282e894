#ifndef ISTREAM_RETENTION_LZ4_H
#define ISTREAM_RETENTION_LZ4_H

struct istream;

/* Asks the stream's owner for the message size. Returns TRUE with size_r in
   bytes, or FALSE if it is not known without reading the message. It may read
   from the parent stream. */
typedef bool retention_lz4_size_callback_t(void *context, uoff_t *size_r);

/* Decode an LZ4 stream. The result is seekable where input is, keeps no
   temporary file and holds one decoded chunk, besides what was not consumed
   yet; a read decodes just the chunk it is in. input must begin with the magic;
   it is referenced.

   A seek ahead goes straight to its chunk when every chunk but the last is
   full, which the message size proves; without size_callback, or where the
   size disagrees, chunks before it are decoded in order instead. The same proof
   gives the exact stream size without decoding.

   stream_errno is EPIPE when the stream was cut off: within a chunk, or, as far
   as is known, before the message size is reached. It is EINVAL on every other
   damage. Bytes of a chunk that did not decode are never returned. A stream
   that has more than the message size is no error.

   size_callback may be NULL, and is called when its answer is needed, at most
   once between syncs; context must outlive the stream's reads. */
struct istream *
i_stream_create_retention_lz4(struct istream *input,
			      retention_lz4_size_callback_t *size_callback,
			      void *context);

#endif
