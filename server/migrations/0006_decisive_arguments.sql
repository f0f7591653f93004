-- The digest covers the target disk and arguments of the administrator now: those of before are not known.
UPDATE fos_handouts SET arguments = 0;
