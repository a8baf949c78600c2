SELECT project, version, started, ended, failed FROM wish ORDER BY project
