// Dot products of many queries with many rows on tensor cores, and what of them may matter.
//
// Both sides are f16, row after row, in rows of `dim` values, a multiple of DEPTH (filled up with zeros); fewer than 2^30 rows.
// A block of 256 threads computes a tile of 128 queries by 128 rows: eight warps, two by four, each 64 queries by 32 rows in 64
// registers a thread. DEPTH columns at a time go through shared memory, while the next ones come from global memory.
//
// How far a score may be from the exact product: `tensor_error` in mod.rs.

#define TILE 128
#define DEPTH 32
// Words of two values in a staged row. Twenty instead of sixteen, so that the eight rows that a warp reads at once lie in
// different banks: 20 i mod 32 is another multiple of four for each i below 8.
#define PITCH 20
#define THREADS 256
#define NOBODY 0xffffffffu

// Words of a tile of both sides, or a quarter of its scores. Aligned, because the words are put four at a time.
union __align__(16) Stage {
    struct { unsigned queries[TILE][PITCH], rows[TILE][PITCH]; } words;
    float scores[TILE][33];
};

struct Scores { float of[4][4][4]; };

#ifndef SIMT
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

// d += a b for 16 by 16 times 16 by 8 values. Which lane holds what is fixed by the PTX manual, "Matrix Fragments for mma.m16n8k16".
__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// A thread's part of DEPTH columns of 128 rows: two pieces of eight values.
__device__ __forceinline__ void fetch(uint4 (&into)[2], const uint4* from, int first, int count, int dim, int depth) {
    for (int i = 0; i < 2; ++i) {
        int piece = threadIdx.x + i * THREADS;
        int row = first + piece / 4;
        uint4 zero = {0, 0, 0, 0};
        into[i] = row < count ? from[((long long)row * dim + depth) / 8 + piece % 4] : zero;
    }
}

__device__ __forceinline__ void put(unsigned (&into)[TILE][PITCH], const uint4 (&pieces)[2]) {
    for (int i = 0; i < 2; ++i) {
        int piece = threadIdx.x + i * THREADS;
        *(uint4*)&into[piece / 4][piece % 4 * 4] = pieces[i];
    }
}

// The scores of a tile. Of the warp's 64 by 32, `of[m][n]` are the thread's four of the m-th 16 queries and the n-th 8 rows.
__device__ __forceinline__ void tile(Scores& scores, Stage& stage, const uint4* queries, const uint4* rows,
                                     int first_query, int query_count, int first_row, int row_count, int dim) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int query = warp / 4 * 64 + lane / 4, row = warp % 4 * 32 + lane / 4, word = lane % 4;
#pragma unroll
    for (int i = 0; i < 64; ++i) scores.of[i / 16][i / 4 % 4][i % 4] = 0;
    uint4 left[2], right[2];
    fetch(left, queries, first_query, query_count, dim, 0);
    fetch(right, rows, first_row, row_count, dim, 0);
    for (int depth = 0; depth < dim; depth += DEPTH) {
        // Everybody is done with what was staged before.
        __syncthreads();
        put(stage.words.queries, left);
        put(stage.words.rows, right);
        __syncthreads();
        if (depth + DEPTH < dim) {
            fetch(left, queries, first_query, query_count, dim, depth + DEPTH);
            fetch(right, rows, first_row, row_count, dim, depth + DEPTH);
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            int at = half * 8 + word;
            unsigned a[4][4], b[4][2];
#pragma unroll
            for (int m = 0; m < 4; ++m)
#pragma unroll
                for (int i = 0; i < 4; ++i) a[m][i] = stage.words.queries[query + m * 16 + i % 2 * 8][at + i / 2 * 4];
#pragma unroll
            for (int n = 0; n < 4; ++n)
#pragma unroll
                for (int i = 0; i < 2; ++i) b[n][i] = stage.words.rows[row + n * 8][at + i * 4];
#pragma unroll
            for (int m = 0; m < 4; ++m)
#pragma unroll
                for (int n = 0; n < 4; ++n) mma(scores.of[m][n], a[m], b[n]);
        }
    }
    // Whoever stages next may overwrite.
    __syncthreads();
}

// Where the i-th of a thread's four scores of `of[m][n]` lies in the tile.
__device__ __forceinline__ int query_of(int m, int i) { return threadIdx.x / 32 / 4 * 64 + m * 16 + threadIdx.x % 32 / 4 + i / 2 * 8; }
__device__ __forceinline__ int row_of(int n, int i) { return threadIdx.x / 32 % 4 * 32 + n * 8 + threadIdx.x % 4 * 2 + i % 2; }

// Of each query the `list` best rows of a slice of rows, best first, equal ones in row order; NOBODY where there are fewer.
// Block x takes 128 queries, block y a slice of `slice` rows, a multiple of 128. Output: [slices, query_count, list].
// Shared memory: a Stage, and 128 * list * 8 bytes.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
best(const uint4* queries, const uint4* rows, int query_count, int row_count, int dim, int slice, int list,
     float* best_scores, unsigned* best_rows) {
    DYNAMIC_SHARED(shared);
    Stage& stage = *(Stage*)shared;
    // [list, TILE]: neighbouring threads have neighbouring queries, so no bank is asked twice.
    float(*list_scores)[TILE] = (float(*)[TILE])(shared + sizeof(Stage));
    unsigned(*list_rows)[TILE] = (unsigned(*)[TILE])(list_scores + list);
    int first_query = blockIdx.x * TILE, first = blockIdx.y * slice;
    int end = slice < row_count - first ? first + slice : row_count;
    int own = threadIdx.x;
    if (own < TILE)
        for (int i = 0; i < list; ++i) {
            list_scores[i][own] = -3.0f;
            list_rows[i][own] = NOBODY;
        }
    for (int first_row = first; first_row < end; first_row += TILE) {
        Scores scores;
        tile(scores, stage, queries, rows, first_query, query_count, first_row, row_count, dim);
        // The scores pass through shared memory, a quarter of the rows at a time; then each of 128 threads looks at its query's.
        for (unsigned quarter = 0; quarter < 4; ++quarter) {
            if (threadIdx.x / 32 % 4 == quarter) {
#pragma unroll
                for (int m = 0; m < 4; ++m)
#pragma unroll
                    for (int n = 0; n < 4; ++n)
#pragma unroll
                        for (int i = 0; i < 4; ++i) stage.scores[query_of(m, i)][row_of(n, i) % 32] = scores.of[m][n][i];
            }
            __syncthreads();
            if (own < TILE) {
                for (int i = 0; i < 32; ++i) {
                    int row = first_row + quarter * 32 + i;
                    float score = stage.scores[own][i];
                    if (row >= end || !(score > list_scores[list - 1][own])) continue;
                    int at = list - 1;
                    for (; at > 0 && list_scores[at - 1][own] < score; --at) {
                        list_scores[at][own] = list_scores[at - 1][own];
                        list_rows[at][own] = list_rows[at - 1][own];
                    }
                    list_scores[at][own] = score;
                    list_rows[at][own] = row;
                }
            }
            __syncthreads();
        }
    }
    int query = first_query + own;
    if (own < TILE && query < query_count)
        for (int i = 0; i < list; ++i) {
            long long at = ((long long)blockIdx.y * query_count + query) * list + i;
            best_scores[at] = list_scores[i][own];
            best_rows[at] = list_rows[i][own];
        }
}

// Every pair whose score plus margin reaches the query's threshold: (query, row, bits of the score), in no order. The margin is
// `margins[group of the query, row]`. With `ordered` it is 0, and only pairs count whose row, counted from `row_base`, is above
// the query, counted from `query_base`. Block x takes 128 rows, block y 128 queries. `found` counts all pairs; those beyond `capacity` are
// not written.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
above(const uint4* queries, const uint4* rows, int query_count, int row_count, int dim, const float* thresholds,
      const unsigned* groups, const float* margins, int ordered, long long query_base, long long row_base,
      unsigned long long capacity, unsigned* pairs, unsigned long long* found) {
    __shared__ Stage stage;
    int first_query = blockIdx.y * TILE, first_row = blockIdx.x * TILE;
    if (ordered && row_base + first_row + TILE - 1 <= query_base + first_query) return;
    Scores scores;
    tile(scores, stage, queries, rows, first_query, query_count, first_row, row_count, dim);
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int query = first_query + query_of(m, i);
            if (query >= query_count) continue;
            float threshold = thresholds[query];
#pragma unroll
            for (int n = 0; n < 4; ++n) {
                int row = first_row + row_of(n, i);
                if (row >= row_count || (ordered && row_base + row <= query_base + query)) continue;
                float score = scores.of[m][n][i];
                float margin = ordered ? 0.0f : margins[(long long)groups[query] * row_count + row];
                if (score + margin < threshold) continue;
                unsigned long long at = atomicAdd(found, 1ull);
                if (at < capacity) {
                    pairs[3 * at] = query;
                    pairs[3 * at + 1] = row;
                    pairs[3 * at + 2] = __float_as_uint(score);
                }
            }
        }
}
