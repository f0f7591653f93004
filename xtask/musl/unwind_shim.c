/*
 * What gcc's unwinder (libgcc_eh.a, built for glibc) misses when it is linked statically with musl.
 *
 * 1. _dl_find_object: glibc 2.35 and newer have it, musl does not. It is answered here from
 *    dl_iterate_phdr, which musl has. The structure is glibc's public one (<dlfcn.h>).
 * 2. libgcc_eh.a refers to the pthread functions weakly and takes them for absent when they are null.
 *    musl always has threads, but its archive members are linked only if something asks for them
 *    strongly; otherwise the unwinder would jump to address 0. So something asks here.
 */
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

struct dl_find_object {
	unsigned long long flags;
	void *map_start, *map_end;
	void *link_map;
	void *eh_frame;
	unsigned long long reserved[7];
};

struct question {
	uintptr_t pc;
	struct dl_find_object *answer;
};

static int look(struct dl_phdr_info *object, size_t size, void *data)
{
	struct question *question = data;
	uintptr_t begin = UINTPTR_MAX, end = 0;
	void *eh_frame = NULL;
	int is_here = 0;

	(void)size;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		uintptr_t start = object->dlpi_addr + part->p_vaddr;

		if (part->p_type == PT_GNU_EH_FRAME)
			eh_frame = (void *)start;
		if (part->p_type != PT_LOAD)
			continue;
		if (question->pc >= start && question->pc - start < part->p_memsz)
			is_here = 1;
		if (start < begin)
			begin = start;
		if (start + part->p_memsz > end)
			end = start + part->p_memsz;
	}
	if (!is_here || eh_frame == NULL)
		return 0;
	memset(question->answer, 0, sizeof *question->answer);
	question->answer->map_start = (void *)begin;
	question->answer->map_end = (void *)end;
	question->answer->eh_frame = eh_frame;
	return 1;
}

int _dl_find_object(void *pc, struct dl_find_object *answer)
{
	struct question question = { (uintptr_t)pc, answer };

	return dl_iterate_phdr(look, &question) == 1 ? 0 : -1;
}

__attribute__((used)) static void *const threads[] = {
	(void *)pthread_once,	     (void *)pthread_mutex_lock,  (void *)pthread_mutex_unlock,
	(void *)pthread_key_create, (void *)pthread_getspecific, (void *)pthread_setspecific,
};
