// CUDA C as host C++: the words of the language, and a block's threads as fibers that take turns at barriers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#define SIMT 1
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// Blocks run one after the other on the thread that launches.
#define __shared__ static thread_local
#define DYNAMIC_SHARED(name) unsigned char* name = simt::dynamic

struct uint3 { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };

namespace simt {
extern thread_local uint3 grid, block, block_index, thread_index;
void block_barrier();
void warp_barrier();
// Runs `body(arguments)` for each thread of each block. `order`: see Script::order in lib.rs.
void launch(uint3 grid, uint3 block, size_t shared, unsigned order, void (*body)(void**), void** arguments);
extern thread_local unsigned char* dynamic;
// What the lanes of a warp show each other: 16 words each.
extern thread_local unsigned shown[32][16];
float widened(uint16_t half);
}

#define gridDim simt::grid
#define blockDim simt::block
#define blockIdx simt::block_index
#define threadIdx simt::thread_index

inline void __syncthreads() { simt::block_barrier(); }
inline unsigned __float_as_uint(float x) { unsigned bits; memcpy(&bits, &x, sizeof bits); return bits; }
template <class T> T atomicAdd(T* at, T by) { T old = *at; *at += by; return old; }

// d += a b, as the PTX manual lays out the fragments of mma.m16n8k16. A tensor core rounds in a way of its own; this one cuts
// each addend off after 24 bits, as the worst of them do.
inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    unsigned lane = threadIdx.x % 32;
    for (int i = 0; i < 4; ++i) simt::shown[lane][i] = a[i];
    for (int i = 0; i < 2; ++i) simt::shown[lane][4 + i] = b[i];
    simt::warp_barrier();
    auto value = [](unsigned lane, int word, int k) { return simt::widened(simt::shown[lane][word] >> (k % 2 * 16)); };
    for (int i = 0; i < 4; ++i) {
        unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        float products[16], largest = d[i] < 0 ? -d[i] : d[i];
        for (int k = 0; k < 16; ++k) {
            unsigned of = k % 8 / 2;
            float x = value(row % 8 * 4 + of, row / 8 + k / 8 * 2, k), y = value(column * 4 + of, 4 + k / 8, k);
            products[k] = x * y;
            float size = products[k] < 0 ? -products[k] : products[k];
            if (size > largest) largest = size;
        }
        // The unit of the last place of the largest, as a power of two: everything below is cut off.
        uint32_t bits = __float_as_uint(largest) & 0x7f800000u;
        float power;
        memcpy(&power, &bits, sizeof power);
        double unit = (double)power / 8388608.0, sum = 0;
        if (unit > 0) {
            auto cut = [unit](double x) { return (double)(long long)(x / unit) * unit; };
            sum = cut(d[i]);
            for (float product : products) sum += cut(product);
        }
        // A sum of seventeen integers of 24 bits; of what does not fit a float, the rest is cut off, too.
        float rounded = (float)sum;
        if ((sum > 0 && rounded > sum) || (sum < 0 && rounded < sum)) {
            uint32_t down = __float_as_uint(rounded) - 1;
            memcpy(&rounded, &down, sizeof rounded);
        }
        d[i] = rounded;
    }
    simt::warp_barrier();
}
