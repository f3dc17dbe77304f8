/* NCCL for processes of one machine without a GPU: they meet in a file, in which each leaves its values
 * for the others to add up. Each call is noted in a file, together with those of the stand-in for the
 * driver (cuda.c).
 *
 *     cc -shared -fPIC -o libnccl.so.2 nccl.c
 */

#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID = 4 };
enum { UINT8 = 1, FLOAT32 = 7, FLOAT64 = 8, SUM = 0, AVERAGE = 4 };
enum { RANKS = 4, ROOM = 1 << 20 };

typedef struct {
    char name[128];
} Id;

typedef struct {
    _Atomic int arrived;
    _Atomic int round;
    char values[RANKS][ROOM];
} Shared;

typedef struct {
    Shared *shared;
    int rank, ranks;
} Comm;

static int note(const char *function, const char *what) {
    FILE *log = fopen(getenv("FAKE_CUDA_LOG"), "a");
    fprintf(log, "%s%s\n", function, what);
    fclose(log);
    return OK;
}

/* All ranks are here. */
static void meet(Comm *comm) {
    int round = comm->shared->round;
    if (++comm->shared->arrived == comm->ranks) {
        comm->shared->arrived = 0;
        comm->shared->round++;
    } else {
        while (comm->shared->round == round) sched_yield();
    }
}

static size_t size(int type) {
    return type == UINT8 ? 1 : type == FLOAT32 ? 4 : type == FLOAT64 ? 8 : 2;
}

int ncclGetVersion(int *version) { return *version = 22307, OK; }
const char *ncclGetErrorString(int code) { return code == INVALID ? "invalid argument" : "fake"; }
int ncclGetUniqueId(Id *id) {
    memset(id, 0, sizeof *id);
    snprintf(id->name, sizeof id->name, "%s.%d.%ld", getenv("FAKE_CUDA_LOG"), getpid(), clock());
    return note("id", "");
}
int ncclCommInitRank(Comm **comm, int ranks, Id id, int rank) {
    int file = open(id.name, O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, sizeof(Shared)) || ranks > RANKS || rank >= ranks) return INVALID;
    *comm = malloc(sizeof **comm);
    void *memory = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    **comm = (Comm){memory, rank, ranks};
    meet(*comm);
    return close(file), unlink(id.name), note("init", "");
}
int ncclAllReduce(const void *from, void *to, size_t count, int type, int op, Comm *comm,
                  void *stream) {
    char what[64];
    size_t bytes = count * size(type);
    snprintf(what, sizeof what, " %zu of type %d, %s", count, type, op == SUM ? "sum" : "mean");
    if (bytes > ROOM || from != to || !stream || (op != SUM && op != AVERAGE)) return INVALID;
    memcpy(comm->shared->values[comm->rank], from, bytes);
    meet(comm);
    for (size_t i = 0; i < count && size(type) > 2; i++) {
        double sum = 0;
        for (int rank = 0; rank < comm->ranks; rank++) {
            const void *values = comm->shared->values[rank];
            sum += type == FLOAT64 ? ((double *)values)[i] : ((float *)values)[i];
        }
        if (op == AVERAGE) sum /= comm->ranks;
        if (type == FLOAT64) ((double *)to)[i] = sum;
        else ((float *)to)[i] = (float)sum;
    }
    meet(comm);
    return note("all_reduce", what);
}
int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, Comm *comm,
                  void *stream) {
    char what[64];
    snprintf(what, sizeof what, " %zu of type %d from %d", count, type, root);
    if (count > ROOM || type != UINT8 || from != to || !stream) return INVALID;
    if (comm->rank == root) memcpy(comm->shared->values[root], from, count);
    meet(comm);
    memcpy(to, comm->shared->values[root], count);
    meet(comm);
    return note("broadcast", what);
}
int ncclCommGetAsyncError(Comm *comm, int *code) { return *code = OK, (void)comm, OK; }
int ncclCommAbort(Comm *comm) {
    return munmap(comm->shared, sizeof(Shared)), free(comm), note("abort", "");
}
