/*
 * A driver of the edu device, as a program: its registers, its DMA and its interrupt.
 *
 *   edu ADDRESS vfio    behind an IOMMU, by vfio-pci: addresses that it chooses, interrupts by MSI-X or MSI
 *   edu ADDRESS uio     without, by uio_pci_generic: physical addresses, interrupts by the pin
 *   edu ADDRESS memory  without: physical addresses; the device's MSI is aimed at memory, where it is seen to arrive
 *   edu ADDRESS identity  says which device it is, and nothing else
 *
 * The device is bound to its driver already. What the program finds it says as `> edu.NAME VALUE`.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 4
/* Behind an IOMMU: where the driver's memory is for the device, and where nothing is. */
#define IOVA 0x00ab0000
#define NOTHING 0x0cd00000

/* Registers, and the device's own memory. */
#define IDENTITY 0x00
#define LIVENESS 0x04
#define FACTORIAL 0x08
#define STATUS 0x20
#define INTERRUPT_STATUS 0x24
#define INTERRUPT_RAISE 0x60
#define INTERRUPT_ACK 0x64
#define DMA_SOURCE 0x80
#define DMA_DESTINATION 0x88
#define DMA_COUNT 0x90
#define DMA_COMMAND 0x98
#define DEVICE_MEMORY 0x40000

#define COMPUTING 1
#define START 1
#define TO_MEMORY 2
#define THEN_INTERRUPT 4
#define REFUSED 8
#define DMA_DONE 0x100

static const char *address;
static volatile uint8_t *registers;
static uint8_t *memory;
static int container, vfio_device;
static off_t vfio_config;

static void die(const char *what)
{
	printf("> edu.failed %s: %s\n", what, strerror(errno));
	exit(1);
}

static void need(int condition, const char *what)
{
	if (!condition)
		die(what);
}

static uint32_t get(int offset)
{
	return *(volatile uint32_t *)(registers + offset);
}

static void set(int offset, uint32_t value)
{
	*(volatile uint32_t *)(registers + offset) = value;
}

static int open_file(const char *name, int flags)
{
	char path[200];
	int file;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", address, name);
	file = open(path, flags);
	need(file >= 0, path);
	return file;
}

/* Where the device finds a byte of the driver's memory. */
static uint64_t device_address(int offset)
{
	uint64_t entry;
	int map;

	if (vfio_device > 0)
		return IOVA + offset;
	map = open("/proc/self/pagemap", O_RDONLY);
	need(pread(map, &entry, 8, ((uintptr_t)memory + offset) / PAGE * 8) == 8, "pagemap");
	close(map);
	return (entry & ((1ull << 55) - 1)) * PAGE + offset % PAGE;
}

/* Configuration space, in one way for all. */
static void config(int write, int offset, void *value, int length)
{
	static int file;
	int all;

	if (vfio_device == 0 && file == 0)
		file = open_file("config", O_RDWR);
	all = vfio_device > 0 ? (write ? pwrite(vfio_device, value, length, vfio_config + offset) :
					 pread(vfio_device, value, length, vfio_config + offset)) :
				(write ? pwrite(file, value, length, offset) : pread(file, value, length, offset));
	need(all == length, "configuration space");
}

/* Memory accesses and bus mastering on; with the pin, or without it. */
static void enable(int pin)
{
	uint16_t command = 0x6 | (pin ? 0 : 0x400);

	config(1, 4, &command, 2);
}

static void map_memory(void)
{
	struct vfio_iommu_type1_dma_map map = { sizeof(map) };

	map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	map.vaddr = (uintptr_t)memory;
	map.iova = IOVA;
	map.size = PAGES * PAGE;
	need(ioctl(container, VFIO_IOMMU_MAP_DMA, &map) == 0, "VFIO_IOMMU_MAP_DMA");
}

static void unmap_memory(void)
{
	struct vfio_iommu_type1_dma_unmap unmap = { sizeof(unmap) };

	unmap.iova = IOVA;
	unmap.size = PAGES * PAGE;
	need(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0, "VFIO_IOMMU_UNMAP_DMA");
	printf("> edu.unmapped %llu\n", (unsigned long long)unmap.size);
}

/* Opens the device through its IOMMU group. */
static void open_vfio(void)
{
	struct vfio_region_info bar = { sizeof(bar) }, space = { sizeof(space) };
	char link[200], path[220];
	int group, length;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", address);
	length = readlink(path, link, sizeof(link) - 1);
	need(length > 0, path);
	link[length] = 0;
	snprintf(path, sizeof(path), "/dev/vfio%s", strrchr(link, '/'));
	container = open("/dev/vfio/vfio", O_RDWR);
	need(container > 0, "/dev/vfio/vfio");
	group = open(path, O_RDWR);
	need(group >= 0, path);
	need(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) == 0, "VFIO_GROUP_SET_CONTAINER");
	need(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == 0, "VFIO_SET_IOMMU");
	vfio_device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
	need(vfio_device > 0, "VFIO_GROUP_GET_DEVICE_FD");
	bar.index = VFIO_PCI_BAR0_REGION_INDEX;
	need(ioctl(vfio_device, VFIO_DEVICE_GET_REGION_INFO, &bar) == 0, "region of the registers");
	space.index = VFIO_PCI_CONFIG_REGION_INDEX;
	need(ioctl(vfio_device, VFIO_DEVICE_GET_REGION_INFO, &space) == 0, "region of the configuration space");
	vfio_config = space.offset;
	registers = mmap(0, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, vfio_device, bar.offset);
	need(registers != MAP_FAILED, "registers");
	map_memory();
}

/* One eventfd for each vector of an index that the device has; gives how many. */
static int connect_vectors(int index, int *events)
{
	struct vfio_irq_info info = { sizeof(info) };
	char buffer[sizeof(struct vfio_irq_set) + 32 * sizeof(int)];
	struct vfio_irq_set *vectors = (struct vfio_irq_set *)buffer;
	int i;

	info.index = index;
	if (ioctl(vfio_device, VFIO_DEVICE_GET_IRQ_INFO, &info) != 0 || info.count == 0)
		return 0;
	if (info.count > 32)
		info.count = 32;
	for (i = 0; i < info.count; i++)
		events[i] = eventfd(0, 0);
	vectors->argsz = sizeof(*vectors) + info.count * sizeof(int);
	vectors->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	vectors->index = index;
	vectors->start = 0;
	vectors->count = info.count;
	memcpy(vectors->data, events, info.count * sizeof(int));
	need(ioctl(vfio_device, VFIO_DEVICE_SET_IRQS, vectors) == 0, "VFIO_DEVICE_SET_IRQS");
	return info.count;
}

/* The device's MSI as a write to the last page of the driver's memory. */
static void aim_at_memory(void)
{
	uint64_t target = device_address((PAGES - 1) * PAGE);
	uint16_t data = 0x4321, control;
	uint8_t at, id = 0;

	for (config(0, 0x34, &at, 1); at != 0; config(0, at + 1, &at, 1)) {
		config(0, at, &id, 1);
		if (id == 5)
			break;
	}
	need(id == 5, "MSI");
	config(1, at + 4, &target, 4);
	config(1, at + 8, (uint8_t *)&target + 4, 4);
	config(1, at + 12, &data, 2);
	config(0, at + 2, &control, 2);
	control |= 1;
	config(1, at + 2, &control, 2);
}

static int events[32];

/* Waits for an interrupt, for two minutes at most: 1 if it came. */
static int interrupted(const char *how)
{
	struct timespec moment = { 0, 1000000 };
	volatile uint32_t *message = (volatile uint32_t *)(memory + (PAGES - 1) * PAGE);
	uint32_t enabled = 1;
	uint64_t count;
	int i;

	if (strcmp(how, "memory") == 0) {
		for (i = 0; i < 120000 && *message == 0; i++)
			nanosleep(&moment, 0);
		i = *message == 0x4321;
		*message = 0;
		return i;
	}
	struct pollfd ready = { events[0], POLLIN };
	if (poll(&ready, 1, 120000) != 1)
		return 0;
	if (strcmp(how, "uio") == 0) {
		need(read(events[0], &count, 4) == 4, "uio");
		return 1;
	}
	need(read(events[0], &count, 8) == 8, "eventfd");
	return count == 1;
}

static void acknowledge(const char *how, uint32_t status)
{
	uint16_t command;

	set(INTERRUPT_ACK, status);
	if (strcmp(how, "uio") != 0)
		return;
	/* The driver has switched the pin off; it is switched on again once nothing is pending. */
	config(0, 4, &command, 2);
	command &= ~0x400;
	config(1, 4, &command, 2);
}

/* Copies by DMA and waits for the interrupt at its end: done, refused, or missing if there is none. */
static const char *copy(const char *how, uint64_t source, uint64_t destination, int count, int command)
{
	uint32_t status;

	*(volatile uint64_t *)(registers + DMA_SOURCE) = source;
	*(volatile uint64_t *)(registers + DMA_DESTINATION) = destination;
	*(volatile uint64_t *)(registers + DMA_COUNT) = count;
	*(volatile uint64_t *)(registers + DMA_COMMAND) = START | THEN_INTERRUPT | command;
	if (!interrupted(how))
		return "missing";
	status = get(INTERRUPT_STATUS);
	acknowledge(how, status);
	if (status != DMA_DONE)
		return "wrong";
	return get(DMA_COMMAND) & REFUSED ? "refused" : "done";
}

static uint32_t checksum(const uint8_t *bytes, int count)
{
	uint32_t sum = 2166136261u;

	while (count-- > 0)
		sum = (sum ^ *bytes++) * 16777619u;
	return sum;
}

int main(int count, char **words)
{
	const char *how = words[2], *went, *back;
	int i, round, ok, length, vectors = 0;
	uint32_t status;

	setlinebuf(stdout);
	address = words[1];
	memory = mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
	need(memory != MAP_FAILED, "memory");
	if (strcmp(how, "vfio") == 0) {
		open_vfio();
		enable(0);
		vectors = connect_vectors(VFIO_PCI_MSIX_IRQ_INDEX, events);
		if (vectors > 0) {
			printf("> edu.vectors msix %d\n", vectors);
		} else {
			vectors = connect_vectors(VFIO_PCI_MSI_IRQ_INDEX, events);
			printf("> edu.vectors msi %d\n", vectors);
		}
	} else {
		registers = mmap(0, 0x100000, PROT_READ | PROT_WRITE, MAP_SHARED, open_file("resource0", O_RDWR | O_SYNC), 0);
		need(registers != MAP_FAILED, "registers");
		enable(strcmp(how, "uio") == 0);
		if (strcmp(how, "identity") == 0) {
			printf("> edu.identity %08x\n", get(IDENTITY));
			return 0;
		}
		if (strcmp(how, "uio") == 0) {
			events[0] = open("/dev/uio0", O_RDWR);
			need(events[0] >= 0, "/dev/uio0");
		} else {
			aim_at_memory();
		}
	}

	printf("> edu.identity %08x\n", get(IDENTITY));
	set(LIVENESS, 0x12345678);
	printf("> edu.liveness %08x\n", get(LIVENESS));
	set(FACTORIAL, 10);
	while (get(STATUS) & COMPUTING)
		;
	printf("> edu.factorial %u\n", get(FACTORIAL));

	for (round = 0; round < 3; round++) {
		set(INTERRUPT_RAISE, 1 << round);
		ok = interrupted(how);
		status = get(INTERRUPT_STATUS);
		acknowledge(how, status);
		printf("> edu.interrupt %s %x %x\n", ok ? "came" : "missing", status, get(INTERRUPT_STATUS));
	}

	/* To the device and back to another place: whole pages, odd bytes, and across pages where they are in a row. */
	for (round = 0; round < 3; round++) {
		int from = round == 0 ? 0 : round == 1 ? 123 : 3000;
		length = round == 0 ? PAGE : round == 1 ? 1001 : vectors > 0 ? 2500 : 900;
		for (i = 0; i < length; i++)
			memory[from + i] = i * (7 + round) + (i >> 8);
		memset(memory + 2 * PAGE, 0, PAGE);
		went = copy(how, device_address(from), DEVICE_MEMORY, length, 0);
		back = copy(how, DEVICE_MEMORY, device_address(2 * PAGE + 5 * round), length - 5 * round, TO_MEMORY);
		printf("> edu.dma %s %s %d %08x %08x\n", went, back, length - 5 * round,
		       checksum(memory + from, length - 5 * round),
		       checksum(memory + 2 * PAGE + 5 * round, length - 5 * round));
	}

	if (vectors > 0) {
		printf("> edu.nothing %s\n", copy(how, NOTHING, DEVICE_MEMORY, 64, 0));
		/* What the device was given is taken away, and given again. */
		unmap_memory();
		printf("> edu.gone %s\n", copy(how, DEVICE_MEMORY, IOVA, 64, TO_MEMORY));
		map_memory();
		printf("> edu.again %s\n", copy(how, IOVA, DEVICE_MEMORY, 64, 0));
	}
	printf("> edu.finished\n");
	/* Everything stays as it is until somebody has looked at the device from the other side. */
	getchar();
	return 0;
}
