/* A driver and a compiler for no GPU: one "device" whose memory is the host's. Kernels do nothing but
 * to leave their name in a file, in the order in which a GPU would run them. What is not allowed while
 * a stream records is refused, as the driver does. A second file, `.streams`, has what each stream gets,
 * and what waits for which event.
 *
 *     cc -shared -fPIC -o libcuda.so cuda.c && ln -s libcuda.so libnvrtc.so
 */

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    NEVER = -1,
    OK = 0,
    INVALID = 1,
    OUT_OF_MEMORY = 2,
    NOT_READY = 600,
    CAPTURING = 900,
    OTHER_GRAPH = 910
};

typedef struct {
    char **names;
    size_t count;
} Graph;

static Graph *recording; /* What a stream records, if one does. */
static void *recorder;   /* That stream. */
static int now;          /* Kernels that were run. */

static void note(const char *what, const char *name) {
    FILE *log = fopen(getenv("FAKE_CUDA_LOG"), "a");
    fprintf(log, "%s%s\n", what, name);
    fclose(log);
}

/* The first stream is that of the kernels. */
static void *kernels;

static void note_stream(void *stream, const char *format, ...) {
    char name[4096];
    snprintf(name, sizeof name, "%s.streams", getenv("FAKE_CUDA_LOG"));
    FILE *log = fopen(name, "a");
    va_list arguments;
    va_start(arguments, format);
    fprintf(log, "%s: ", stream == NULL ? "host" : stream == kernels ? "kernels" : "other");
    vfprintf(log, format, arguments);
    fputc('\n', log);
    va_end(arguments);
    fclose(log);
}

static void run(const char *kernel) {
    now++;
    note("kernel ", kernel);
    note_stream(kernels, "%s", kernel);
}

static void add(Graph *graph, const char *name) {
    graph->names = realloc(graph->names, (graph->count + 1) * sizeof *graph->names);
    graph->names[graph->count++] = strdup(name);
}

static void copy(Graph *to, const Graph *from) {
    *to = (Graph){0};
    for (size_t i = 0; i < from->count; i++) add(to, from->names[i]);
}

static int outside(void) { return recording ? CAPTURING : OK; }

int cuInit(unsigned flags) { return flags ? INVALID : OK; }
int cuDriverGetVersion(int *version) { return *version = 13000, OK; }
int cuDeviceGetCount(int *count) { return *count = 1, OK; }
int cuDeviceGet(int *device, int index) { return *device = index, OK; }
int cuDeviceGetName(char *name, int size, int device) {
    return snprintf(name, size, "fake %d", device), OK;
}
int cuDeviceGetAttribute(int *value, unsigned attribute, int device) {
    return *value = attribute == 75 ? 9 : 0, (void)device, OK;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    return *bytes = (size_t)1 << 34, (void)device, OK;
}
int cuGetErrorString(int code, const char **text) { return *text = "fake", (void)code, OK; }
int cuDevicePrimaryCtxRetain(void **context, int device) {
    return *context = &recording, (void)device, OK;
}
int cuCtxSetCurrent(void *context) { return context ? OK : INVALID; }
int cuStreamCreate(void **stream, unsigned flags) {
    *stream = malloc(1);
    if (!kernels) kernels = *stream;
    return (void)flags, OK;
}
int cuStreamDestroy_v2(void *stream) { return free(stream), OK; }
int cuStreamSynchronize(void *stream) { return (void)stream, outside(); }

int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    if (recording) return CAPTURING;
    *address = (uint64_t)aligned_alloc(512, (bytes + 511) / 512 * 512);
    if (*address) memset((void *)*address, 0, bytes);
    return *address ? OK : OUT_OF_MEMORY;
}
int cuMemFree_v2(uint64_t address) {
    if (recording) return CAPTURING;
    return free((void *)address), OK;
}
int cuMemGetInfo_v2(size_t *available, size_t *all) {
    return *available = *all = (size_t)1 << 34, OK;
}
int cuMemHostAlloc(void **address, size_t bytes, unsigned flags) {
    return *address = malloc(bytes), (void)flags, *address ? OK : OUT_OF_MEMORY;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    if (recording && stream == recorder) return CAPTURING;
    note_stream(stream, "upload %zu", bytes);
    return memcpy((void *)to, from, bytes), note("", "upload"), OK;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    if (recording) return CAPTURING;
    return memcpy(to, (void *)from, bytes), (void)stream, note("", "download"), OK;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    if (recording) return CAPTURING;
    return memmove((void *)to, (void *)from, bytes), (void)stream, note("", "copy"), OK;
}

/* The clock goes on by a millisecond with each kernel. */
typedef struct {
    int time;
    int number; /* Of its last record. */
} Event;

int cuEventCreate(Event **event, unsigned flags) {
    *event = malloc(sizeof **event);
    return **event = (Event){NEVER, NEVER}, (void)flags, OK;
}
int cuEventRecord(Event *event, void *stream) {
    static int records;
    *event = (Event){now, records++};
    note_stream(stream, "record %d", event->number);
    return recording && stream == recorder ? CAPTURING : OK;
}
int cuStreamWaitEvent(void *stream, Event *event, unsigned flags) {
    if (recording && stream == recorder) return CAPTURING;
    if (event->time == NEVER || flags) return INVALID;
    note_stream(stream, "wait %d", event->number);
    return note("", "wait"), OK;
}
int cuEventSynchronize(Event *event) {
    if (event->time == NEVER) return INVALID;
    return note_stream(NULL, "wait %d", event->number), OK;
}
int cuEventQuery(Event *event) {
    if (event->time == NEVER) return INVALID;
    return getenv("FAKE_CUDA_HANGS") && access(getenv("FAKE_CUDA_HANGS"), F_OK) == 0 ? NOT_READY : OK;
}
int cuEventElapsedTime_v2(float *milliseconds, Event *start, Event *end) {
    *milliseconds = (float)(end->time - start->time);
    return start->time < 0 || end->time < 0 ? INVALID : OK;
}
int cuEventDestroy_v2(Event *event) { return free(event), OK; }

/* A module is the name of its kernel, which is its code. */
int cuModuleLoadData(char **module, const char *code) {
    return *module = strdup(code), recording ? CAPTURING : OK;
}
int cuModuleGetFunction(char **function, char *module, const char *name) {
    return *function = module, strstr(module, name) ? OK : INVALID;
}
int cuLaunchKernel(const char *function, unsigned x, unsigned y, unsigned z, unsigned threads,
                   unsigned threads_y, unsigned threads_z, unsigned shared, void *stream,
                   void **params, void **extra) {
    (void)stream, (void)params, (void)extra;
    if (!x || !y || !z || !threads || threads > 1024 || threads_y != 1 || threads_z != 1 || shared)
        return INVALID;
    if (recording) add(recording, function);
    else run(function);
    return OK;
}

int cuStreamBeginCapture_v2(void *stream, unsigned mode) {
    if (recording || mode != 2) return INVALID;
    return recording = calloc(1, sizeof *recording), recorder = stream, OK;
}
int cuStreamEndCapture(void *stream, Graph **graph) {
    if (!recording) return INVALID;
    return *graph = recording, recording = NULL, (void)stream, OK;
}
int cuGraphGetNodes(const Graph *graph, void **nodes, size_t *count) {
    return *count = graph->count, nodes ? INVALID : OK;
}
int cuGraphInstantiateWithFlags(Graph **exec, const Graph *graph, unsigned long long flags) {
    copy(*exec = malloc(sizeof **exec), graph);
    return note("", "instantiate"), (int)flags;
}
int cuGraphExecUpdate_v2(Graph *exec, const Graph *graph, void *info) {
    int same = exec->count == graph->count;
    for (size_t i = 0; same && i < graph->count; i++)
        same = strcmp(exec->names[i], graph->names[i]) == 0;
    memset(info, 0, 24);
    if (same) note("", "update");
    return same ? OK : OTHER_GRAPH;
}
int cuGraphLaunch(const Graph *exec, void *stream) {
    for (size_t i = 0; i < exec->count; i++) run(exec->names[i]);
    return (void)stream, outside();
}
int cuGraphDestroy(Graph *graph) {
    for (size_t i = 0; i < graph->count; i++) free(graph->names[i]);
    return free(graph->names), free(graph), OK;
}
int cuGraphExecDestroy(Graph *exec) { return note("", "destroy"), cuGraphDestroy(exec); }

/* The compiler: the code of a kernel is its name, between letters that make it an ELF file's. */
int nvrtcVersion(int *major, int *minor) { return *major = 13, *minor = 0, OK; }
const char *nvrtcGetErrorString(int code) { return (void)code, "fake"; }
int nvrtcCreateProgram(char **program, const char *source, const char *name, int headers,
                       const char *const *contents, const char *const *includes) {
    (void)source, (void)headers, (void)contents, (void)includes;
    return *program = strdup(name), OK;
}
int nvrtcCompileProgram(char *program, int count, const char *const *options) {
    return (void)program, (void)count, (void)options, OK;
}
int nvrtcGetCUBINSize(char *program, size_t *size) { return *size = strlen(program) + 1, OK; }
int nvrtcGetCUBIN(char *program, char *code) { return strcpy(code, program), OK; }
int nvrtcGetProgramLogSize(char *program, size_t *size) { return *size = 1, (void)program, OK; }
int nvrtcGetProgramLog(char *program, char *log) { return *log = 0, (void)program, OK; }
int nvrtcDestroyProgram(char **program) { return free(*program), OK; }
