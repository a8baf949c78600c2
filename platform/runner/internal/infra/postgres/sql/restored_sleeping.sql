DELETE FROM sleeping
