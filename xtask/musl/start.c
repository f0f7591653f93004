/*
 * The start of a position independent static program whose relocations are packed (DT_RELR; the format is in the
 * generic ABI of ELF, chapter "Dynamic Linking"): adds the load address where they say, and goes on with musl's own
 * start, which here has the name musl_start. musl knows the format since 1.2.4, and Debian 12 has 1.2.3.
 */
#include <stddef.h>

enum { END = 0, RELRSZ = 35, RELR = 36 };

struct entry {
	size_t tag, value;
};

/* At the load address, as the first segment begins with it. */
extern char __ehdr_start[] __attribute__((visibility("hidden")));
extern struct entry _DYNAMIC[] __attribute__((visibility("hidden")));

/* Called before any address in the program's data is right: no global variable but the two above, no call. */
__attribute__((used, visibility("hidden"))) void unpack_relocations(void)
{
	char *base = __ehdr_start;
	struct entry *len = NULL;
	size_t *packed = NULL, *next = NULL;

	for (struct entry *entry = _DYNAMIC; entry->tag != END; entry++) {
		if (entry->tag == RELRSZ)
			len = entry;
		if (entry->tag == RELR)
			packed = (size_t *)(base + entry->value);
	}
	if (len == NULL || packed == NULL)
		return;
	for (size_t i = 0; i < len->value / sizeof *packed; i++) {
		size_t word = packed[i];

		if (word % 2 == 0) {
			/* The place of one. */
			next = (size_t *)(base + word);
			*next++ += (size_t)base;
			continue;
		}
		/* A bit for each of the places that follow. */
		for (size_t bit = 1; bit < 8 * sizeof word; bit++)
			if (word >> bit & 1)
				next[bit - 1] += (size_t)base;
		next += 8 * sizeof word - 1;
	}
	/* A musl that knows the format does not do it again. */
	len->value = 0;
}

#if defined __x86_64__
__asm__(".text\n"
	".globl _start\n"
	".type _start, %function\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rbx\n"
	"	and $-16, %rsp\n"
	"	call unpack_relocations\n"
	"	mov %rbx, %rsp\n"
	"	jmp musl_start\n"
	".size _start, . - _start\n");
#elif defined __aarch64__
__asm__(".text\n"
	".globl _start\n"
	".type _start, %function\n"
	"_start:\n"
	"	mov x29, #0\n"
	"	bl unpack_relocations\n"
	"	mov x30, #0\n"
	"	b musl_start\n"
	".size _start, . - _start\n");
#endif
