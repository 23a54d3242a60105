/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SELFTESTS_VFIO_LIVEUPDATE_STREAMING_H
#define SELFTESTS_VFIO_LIVEUPDATE_STREAMING_H

#include <pthread.h>
#include <stdbool.h>

#include "refuse.h"

/* Memory that nobody needs, under a device that does not notice */
static inline int vm_map_and_unmap(struct vm *vm)
{
	struct dma_region second = {
		.iova = VM_MEMORY_IOVA + SZ_4G,
		.size = VM_MEMORY_SIZE,
	};
	int memfd = vm_memory_create(), ret;

	VFIO_ASSERT_GE(memfd, 0);
	ret = __iommu_map_file(vm->iommu, &second, memfd, 0);
	if (!ret)
		ret = __iommu_unmap(vm->iommu, &second, NULL);
	close(memfd);
	return ret;
}

/* A device that copies memory all the time, each copy checked. */
struct streaming {
	struct refuse *refuse;
	pthread_t thread;
	bool stop;
	unsigned long copies;
	unsigned long bad;
};

static inline void *streaming_thread(void *arg)
{
	struct streaming *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		if (refuse_dma(s->refuse))
			s->bad++;
		__atomic_add_fetch(&s->copies, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static inline void streaming_start(struct streaming *s, struct refuse *refuse)
{
	*s = (struct streaming){ .refuse = refuse };
	VFIO_ASSERT_EQ(pthread_create(&s->thread, NULL, streaming_thread, s), 0);
}

/* Wait until the device has done something more. Returns false if it does not. */
static inline bool streaming_goes_on(struct streaming *s)
{
	unsigned long copies = __atomic_load_n(&s->copies, __ATOMIC_RELAXED);
	int i;

	/* The one under way may have begun before */
	for (i = 0; i < 5000; i++) {
		if (__atomic_load_n(&s->copies, __ATOMIC_RELAXED) >= copies + 2)
			return true;
		usleep(1000);
	}
	return false;
}

static inline void streaming_stop(struct streaming *s)
{
	__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
	pthread_join(s->thread, NULL);
}

#endif /* SELFTESTS_VFIO_LIVEUPDATE_STREAMING_H */
