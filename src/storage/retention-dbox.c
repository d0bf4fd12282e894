/* Copyright (c) 2026 dovecot-retention authors, see the included COPYING file */

/* A message in sdbox and mdbox: a header with the size of what is stored, the
   stored bytes, and lines of metadata, all of which stay as they are but one:
   Z tells the message size in hex where it is not the size of what is stored.
   Without it Dovecot would take the one for the other. */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "ostream.h"
#include "str.h"
#include "dbox-storage.h"
#include "dbox-file.h"
#include "retention-dbox.h"

static int retention_dbox_read_failed(struct dbox_file *file, int ret,
				      uoff_t offset, const char **error_r)
{
	if (ret < 0 || file->input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s",
			file->cur_path, i_stream_get_error(file->input));
		return -1;
	}
	*error_r = t_strdup_printf("%s is corrupted at offset %"PRIuUOFF_T,
				   file->cur_path, offset);
	return 0;
}

static enum retention_record_state
retention_dbox_state(struct dbox_file *file,
		     const struct retention_dbox_message *msg)
{
	if (file->msg_header_size != sizeof(struct dbox_message_header) ||
	    dbox_file_metadata_get(file, DBOX_METADATA_EXT_REF) != NULL) {
		/* an old Dovecot's file, or parts of the message are stored
		   elsewhere and referred to by offset */
		return RETENTION_RECORD_NOT_COMPRESSIBLE;
	}
	return msg->plain_size != msg->body_size ?
		RETENTION_RECORD_COMPRESSED : RETENTION_RECORD_UNKNOWN;
}

int retention_dbox_read(struct dbox_file *file, uoff_t offset,
			struct retention_dbox_message *msg_r,
			const char **error_r)
{
	int ret;

	i_zero(msg_r);
	if ((ret = dbox_file_seek(file, offset)) <= 0)
		return retention_dbox_read_failed(file, ret, offset, error_r);
	msg_r->offset = file->cur_offset;
	msg_r->body_offset = file->cur_offset + file->msg_header_size;
	msg_r->body_size = file->cur_physical_size;

	/* Metadata that were read before would be answered from memory, and
	   the stream would not be at their end. */
	file->metadata_read_offset = UOFF_T_MAX;
	if ((ret = dbox_file_metadata_read(file)) <= 0)
		return retention_dbox_read_failed(file, ret, offset, error_r);
	msg_r->end_offset = file->input->v_offset;
	msg_r->plain_size = dbox_file_get_plaintext_size(file);
	msg_r->state = retention_dbox_state(file, msg_r);
	return 1;
}

struct istream *
retention_dbox_open_body(struct dbox_file *file,
			 const struct retention_dbox_message *msg)
{
	i_stream_seek(file->input, msg->body_offset);
	return i_stream_create_limit(file->input, msg->body_size);
}

int retention_dbox_write_header(struct ostream *output, uoff_t stored_size)
{
	struct dbox_message_header hdr;

	dbox_msg_header_fill(&hdr, stored_size);
	return o_stream_send(output, &hdr, sizeof(hdr)) == sizeof(hdr) ? 0 : -1;
}

int retention_dbox_write_metadata(struct dbox_file *file,
				  struct ostream *output, uoff_t plain_size)
{
	string_t *str = t_str_new(256);
	const char *line;

	str_append_data(str, DBOX_MAGIC_POST, strlen(DBOX_MAGIC_POST));
	array_foreach_elem(&file->metadata, line) {
		if (line[0] != DBOX_METADATA_PHYSICAL_SIZE)
			str_printfa(str, "%s\n", line);
	}
	str_printfa(str, "%c%llx\n\n", DBOX_METADATA_PHYSICAL_SIZE,
		    (unsigned long long)plain_size);
	return o_stream_send(output, str_data(str), str_len(str)) ==
		(ssize_t)str_len(str) ? 0 : -1;
}
