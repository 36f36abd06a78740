"""What lies below an object's path and is not the object itself: scale, binding, eviction, finalize."""
