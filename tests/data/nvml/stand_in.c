/* GPUs as NVIDIA's library tells of them, for machines without one: the first is whole and
   busy, the second is cut into one MIG instance and says nothing of its own activity. With LOST
   defined there is one between them that fell off the bus. */
#include <string.h>

typedef int nvml;
enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15 };
#ifdef LOST
enum { COUNT = 3 };
#else
enum { COUNT = 2 };
#endif
struct rates { unsigned gpu, memory; };
struct memory { unsigned long long total, free, used; };
static char gpus[3]; /* the third is the instance */

#define IS(device, number) ((device) == (void *)&gpus[number])

nvml nvmlInitWithFlags(unsigned flags) { return OK; }
nvml nvmlShutdown(void) { return OK; }
nvml nvmlDeviceGetCount_v2(unsigned *count) { *count = COUNT; return OK; }
nvml nvmlDeviceGetHandleByIndex_v2(unsigned number, void **device) {
  if (COUNT == 3 && number == 1)
    return GPU_IS_LOST;
  *device = &gpus[number == 0 ? 0 : 1];
  return OK;
}
nvml nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
  strncpy(text, IS(device, 0) ? "GPU-whole" : "GPU-cut", length);
  return OK;
}
nvml nvmlDeviceGetName(void *device, char *text, unsigned length) {
  strncpy(text, "NVIDIA H100", length);
  return OK;
}
nvml nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *next) {
  *now = *next = IS(device, 1);
  return OK;
}
nvml nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) { *count = 7; return OK; }
nvml nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned number, void **part) {
  *part = &gpus[2];
  return number == 0 ? OK : NOT_FOUND;
}
nvml nvmlDeviceGetGpuInstanceId(void *device, unsigned *id) { *id = 9; return OK; }
nvml nvmlDeviceGetUtilizationRates(void *device, struct rates *rates) {
  rates->gpu = 62;
  return IS(device, 0) ? OK : NOT_SUPPORTED;
}
nvml nvmlDeviceGetEncoderUtilization(void *device, unsigned *value, unsigned *period) { return NOT_SUPPORTED; }
nvml nvmlDeviceGetDecoderUtilization(void *device, unsigned *value, unsigned *period) {
  *value = 4;
  return OK;
}
nvml nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) { *milliwatts = 412500; return OK; }
nvml nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
  memory->used = IS(device, 0) ? 1ULL << 34 : 1ULL << 30;
  return OK;
}
