# What `count_allocations` counts: every byte requested from CPython's allocators.

cdef extern from "Python.h":
    ctypedef enum PyMemAllocatorDomain:
        PYMEM_DOMAIN_RAW
        PYMEM_DOMAIN_MEM
        PYMEM_DOMAIN_OBJ
    ctypedef struct PyMemAllocatorEx:
        void *ctx
        void *(*malloc)(void *ctx, size_t size) noexcept nogil
        void *(*calloc)(void *ctx, size_t nelem, size_t elsize) noexcept nogil
        void *(*realloc)(void *ctx, void *ptr, size_t new_size) noexcept nogil
        void (*free)(void *ctx, void *ptr) noexcept nogil
    void PyMem_GetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator)
    void PyMem_SetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator)

cdef PyMemAllocatorEx _inner[3]
cdef uint64_t *_allocated = NULL
cdef object _allocated_owner = None


cdef void *_counting_malloc(void *ctx, size_t size) noexcept nogil:
    cdef PyMemAllocatorEx *inner = <PyMemAllocatorEx *>ctx
    _allocated[0] += size
    return inner.malloc(inner.ctx, size)


cdef void *_counting_calloc(void *ctx, size_t nelem, size_t elsize) noexcept nogil:
    cdef PyMemAllocatorEx *inner = <PyMemAllocatorEx *>ctx
    _allocated[0] += nelem * elsize
    return inner.calloc(inner.ctx, nelem, elsize)


cdef void *_counting_realloc(void *ctx, void *ptr, size_t new_size) noexcept nogil:
    cdef PyMemAllocatorEx *inner = <PyMemAllocatorEx *>ctx
    _allocated[0] += new_size
    return inner.realloc(inner.ctx, ptr, new_size)


cdef void _counting_free(void *ctx, void *ptr) noexcept nogil:
    cdef PyMemAllocatorEx *inner = <PyMemAllocatorEx *>ctx
    inner.free(inner.ctx, ptr)


def count_allocations(words, Py_ssize_t word):
    """Add every byte requested from CPython's allocators to one word, from now on.

    Wraps the memory and object domains and calls through; one addition per allocation. The raw
    domain is not wrapped: the other two request from it what is too large for pymalloc, which
    would be counted twice. Calling this twice is an error for the same reason.

    Args:
        words: The forwarder's counter block.
        word: Index of the word.

    Returns:
        True: they are counted from now on.

    Raises:
        RuntimeError: Already counting.
    """
    global _allocated, _allocated_owner
    cdef PyMemAllocatorEx hook
    cdef uint64_t[:] view = words
    cdef int domain
    if _allocated != NULL:
        raise RuntimeError("allocations are counted already")
    _allocated_owner = words
    _allocated = &view[word]
    for domain in range(PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ + 1):
        PyMem_GetAllocator(<PyMemAllocatorDomain>domain, &_inner[domain])
        hook.ctx = &_inner[domain]
        hook.malloc = _counting_malloc
        hook.calloc = _counting_calloc
        hook.realloc = _counting_realloc
        hook.free = _counting_free
        PyMem_SetAllocator(<PyMemAllocatorDomain>domain, &hook)
    return True
