// The functions of libcuda.so.1 that cudarc calls for what we do. Names, arguments and error codes are NVIDIA's; see the driver API's
// manual. Everything is done when a call returns.
#include "kernels.hpp"
#include "simt.hpp"
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace {

enum : int { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, NOT_FOUND = 500 };
using Pointer = unsigned long long;

unsigned long long number(const char* name, unsigned long long otherwise) {
    const char* text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

struct Device { size_t used = 0; };
std::map<int, Device> devices;
std::map<Pointer, std::pair<size_t, int>> allocated;
std::map<std::string, unsigned> calls;
std::map<int, int> lost;
std::map<void*, unsigned> most_shared;
std::recursive_mutex lock;
thread_local int current = 0;

int device_count() { return (int)number("REALSYN_CUDA_DEVICES", 1); }
size_t memory() { return number("REALSYN_CUDA_MEMORY", 1ull << 30); }

// Counts a call of a function, and says how it is scripted to end.
int scripted(const char* name) {
    if (auto was = lost.find(current); was != lost.end()) return was->second;
    char which[64];
    unsigned call;
    int code;
    const char* text = getenv("REALSYN_CUDA_FAILURE");
    if (!text || sscanf(text, "%63s %u %d", which, &call, &code) != 3) return SUCCESS;
    if (std::string_view(which) != name || ++calls[name] != call) return SUCCESS;
    if (code != OUT_OF_MEMORY) lost[current] = code;
    return code;
}

// The allocation that holds these bytes is there, and is this device's.
bool inside(Pointer at, size_t bytes) {
    auto next = allocated.upper_bound(at);
    if (next == allocated.begin()) return false;
    auto& [start, block] = *std::prev(next);
    return block.second == current && at + bytes <= start + block.first;
}

}  // namespace

#define BEGIN(name) std::lock_guard<std::recursive_mutex> guard(lock); if (int code = scripted(name)) return code

extern "C" {

int cuInit(unsigned) { return device_count() > 0 ? SUCCESS : NO_DEVICE; }
int cuDeviceGetCount(int* count) { *count = device_count(); return SUCCESS; }
int cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal < device_count() ? SUCCESS : INVALID_DEVICE;
}
int cuDeviceGetName(char* name, int length, int) { snprintf(name, length, "Stand-in"); return SUCCESS; }
int cuDeviceGetUuid_v2(unsigned char* uuid, int device) {
    for (int i = 0; i < 16; ++i) uuid[i] = i == 15 ? device : 0xab;
    return SUCCESS;
}
int cuDeviceGetUuid(unsigned char* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }
int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = memory(); return SUCCESS; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    enum { MULTIPROCESSOR_COUNT = 16, MAJOR = 75, MINOR = 76 };
    *value = attribute == MULTIPROCESSOR_COUNT ? 1 : attribute == MAJOR ? (int)number("REALSYN_CUDA_CAPABILITY", 8) : 0;
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void** context, int device) { *context = (void*)(uintptr_t)(device + 1); return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void* context) { current = (int)(uintptr_t)context - 1; return SUCCESS; }
int cuCtxGetCurrent(void** context) { *context = (void*)(uintptr_t)(current + 1); return SUCCESS; }
int cuCtxSynchronize() { BEGIN("cuCtxSynchronize"); return SUCCESS; }
int cuMemGetInfo_v2(size_t* free, size_t* total) {
    BEGIN("cuMemGetInfo");
    *total = memory();
    *free = memory() - devices[current].used;
    return SUCCESS;
}
int cuMemAlloc_v2(Pointer* at, size_t bytes) {
    BEGIN("cuMemAlloc");
    if (bytes == 0) return INVALID_VALUE;
    if (devices[current].used + bytes > memory()) return OUT_OF_MEMORY;
    void* block = aligned_alloc(256, (bytes + 255) / 256 * 256);
    // What was never written is not zero on a device either.
    memset(block, 0xcd, bytes);
    *at = (Pointer)block;
    allocated[*at] = {bytes, current};
    devices[current].used += bytes;
    return SUCCESS;
}
int cuMemFree_v2(Pointer at) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto block = allocated.find(at);
    if (block == allocated.end()) return INVALID_VALUE;
    devices[block->second.second].used -= block->second.first;
    allocated.erase(block);
    free((void*)at);
    return SUCCESS;
}
int cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void*) {
    BEGIN("cuMemcpyHtoD");
    if (!inside(to, bytes)) return INVALID_VALUE;
    memcpy((void*)to, from, bytes);
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void*) {
    BEGIN("cuMemcpyDtoH");
    if (!inside(from, bytes)) return INVALID_VALUE;
    memcpy(to, (void*)from, bytes);
    return SUCCESS;
}
int cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, void*) {
    BEGIN("cuMemset");
    if (!inside(to, bytes)) return INVALID_VALUE;
    memset((void*)to, value, bytes);
    return SUCCESS;
}
int cuModuleLoadData(void** module, const void* image) {
    BEGIN("cuModuleLoad");
    *module = (void*)image;
    std::string_view text((const char*)image);
    return text.find(".version") == text.npos ? INVALID_IMAGE : SUCCESS;
}
int cuModuleUnload(void*) { return SUCCESS; }
int cuModuleGetFunction(void** function, void*, const char* name) {
    *function = (void*)kernel_of(name);
    return *function ? SUCCESS : NOT_FOUND;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
    enum { MAX_DYNAMIC_SHARED_SIZE_BYTES = 8 };
    // What compute capability 8.6 allows, which has the least of those that we support.
    if (attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES || value > 99 * 1024) return INVALID_VALUE;
    std::lock_guard<std::recursive_mutex> guard(lock);
    most_shared[function] = value;
    return SUCCESS;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void*, void** arguments, void**) {
    BEGIN("cuLaunchKernel");
    // What a device allows: 2^31 - 1 blocks in x, 65,535 in y and z.
    if (gx == 0 || gy == 0 || gz == 0 || gx > 0x7fffffff || gy > 65535 || gz > 65535) return INVALID_VALUE;
    if (shared > 48 * 1024 && shared > most_shared[function]) return INVALID_VALUE;
    simt::launch({gx, gy, gz}, {bx, by, bz}, shared, (unsigned)number("REALSYN_CUDA_ORDER", 0), (Kernel)function, arguments);
    return SUCCESS;
}
int cuStreamSynchronize(void*) { BEGIN("cuStreamSynchronize"); return SUCCESS; }
int cuGetErrorName(int, const char** text) { *text = "CUDA_ERROR_SCRIPTED"; return SUCCESS; }
int cuGetErrorString(int, const char** text) { *text = "scripted"; return SUCCESS; }

}  // extern "C"
