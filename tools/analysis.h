/* Included in front of every file by `tools/test.sh static`: its analyzers see one file at a time, and are
   told here what functions of other files return. */
#include "base/given.h"
#include "base/node.h"
#include "base/status.h"

void analysis_said(const char *format, ...);

#define cvy_fail(status, ...) (analysis_said(__VA_ARGS__), (status))
#define cvy_fail_in(status, ...) (analysis_said(__VA_ARGS__), (status))
#define cvy_fail_memory(what, bytes) (analysis_said((what), (bytes)), CONVOY_MEMORY)
#define cvy_node_fail(node, ...) ((void)(node), analysis_said(__VA_ARGS__), CONVOY_INVALID)
#define cvy_object_close(function, what, object) (analysis_said((function), (what), (object)), true)
