/*
 * The unwinder of programs that have no tables to unwind by. Rust's library asks for one where it makes a
 * backtrace: there is no frame. All else is called during an unwinding only, which never begins, as a panic
 * aborts (panic=abort).
 */
#include <stdlib.h>

enum { END_OF_STACK = 5 };

int _Unwind_Backtrace(void *visit, void *data)
{
	(void)visit;
	(void)data;
	return END_OF_STACK;
}

#define NEVER(name)   \
	void name(void) \
	{               \
		abort(); \
	}

NEVER(_Unwind_DeleteException)
NEVER(_Unwind_FindEnclosingFunction)
NEVER(_Unwind_GetCFA)
NEVER(_Unwind_GetDataRelBase)
NEVER(_Unwind_GetIP)
NEVER(_Unwind_GetIPInfo)
NEVER(_Unwind_GetLanguageSpecificData)
NEVER(_Unwind_GetRegionStart)
NEVER(_Unwind_GetTextRelBase)
NEVER(_Unwind_RaiseException)
NEVER(_Unwind_Resume)
NEVER(_Unwind_SetGR)
NEVER(_Unwind_SetIP)
