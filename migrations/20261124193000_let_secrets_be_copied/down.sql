-- Copies cannot be opened without it.
delete from secrets where sealed_as is not null;
alter table secrets drop column sealed_as;
